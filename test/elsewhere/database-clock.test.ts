import { afterEach, expect, test } from 'vitest'
import { openClock, type SharedClock } from '../../src/db/postgres/postgres-clock.ts'
import { createSilence } from '../../src/uploads/silence.ts'

/** A database whose clock can be set, and whose answers take a while. */
function database() {
  const state = { nowMs: 1_000_000, passedMs: 0, thereMs: 0, backMs: 0 }
  const pass = (ms: number) => {
    state.nowMs += ms
    state.passedMs += ms
  }
  return {
    state,
    pass,
    passed: () => state.passedMs,
    async query() {
      pass(state.thereMs)
      const rows = [{ now: state.nowMs }]
      pass(state.backMs)
      return { rows, rowCount: 1 }
    },
  }
}

const open: SharedClock[] = []
async function clockOf(db: ReturnType<typeof database>) {
  const clock = await openClock(db, db.passed)
  open.push(clock)
  return clock
}
afterEach(() => {
  for (const clock of open.splice(0)) clock.close()
})

test('the time is that of the database, and goes on between answers as time passes', async () => {
  const db = database()
  const clock = await clockOf(db)
  expect(clock.now()).toBe(db.state.nowMs)
  db.pass(5_000)
  expect(clock.now()).toBe(db.state.nowMs)
})

test('an answer that took long does not move a clock that may be right', async () => {
  const db = database()
  const clock = await clockOf(db)
  db.state.backMs = 400
  await clock.set()
  expect(clock.now()).toBe(db.state.nowMs)
  Object.assign(db.state, { thereMs: 300, backMs: 0 })
  await clock.set()
  expect(clock.now()).toBe(db.state.nowMs)
})

test('a clock that is wrong for certain moves no further than it must', async () => {
  const db = database()
  db.state.backMs = 100
  const clock = await clockOf(db)
  db.state.nowMs += 1_000
  await clock.set()
  expect(Math.abs(clock.now() - db.state.nowMs)).toBeLessThanOrEqual(100)
})

test('when the clock is set ahead, the one that leads moves stored times, and the others believe it later', async () => {
  const written: unknown[] = []
  const db = {
    get: async () => undefined,
    all: async () => [],
    write: async (...statements: unknown[]) => {
      written.push(...statements)
      return []
    },
    ping: async () => {},
    close: async () => {},
  }
  const time = { nowMs: 1_000_000_000, passedMs: 0 }
  const clock = { now: () => time.nowMs, passed: () => time.passedMs }
  const [leader, other] = [createSilence({ db, clock }), createSilence({ db, clock })]
  time.nowMs += 3_600_000
  await other.follow(false, () => {})
  expect([other.nowMs(), written.length]).toEqual([1_000_000_000, 0])
  await leader.follow(true, () => {})
  expect([leader.nowMs(), written.length]).toEqual([time.nowMs, 1])
  for (const part of ['nowMs', 'passedMs'] as const) time[part] += 20_000
  await other.follow(false, () => {})
  expect([other.nowMs(), written.length]).toEqual([time.nowMs, 1])
})

/** Clocks that others set: what becomes of uploads whose times were stored before. */
import { eq } from 'drizzle-orm'
import { expect, test } from 'vitest'
import { systemClock } from '../src/clock.ts'
import { uploads } from '../src/db/schema.ts'
import { startService } from './support/service.ts'
import { tablesOf } from './support/tables.ts'
import { noise, tusClient } from './support/tus.ts'

const HOUR = 3_600_000

/** A clock that can be set, and time that can pass. */
function settableClock() {
  let setMs = 0
  let passedMs = 0
  return {
    now: () => systemClock.now() + setMs + passedMs,
    passed: () => performance.now() + passedMs,
    set(ms: number) {
      setMs += ms
    },
    pass(ms: number) {
      passedMs += ms
    },
  }
}

const clock = settableClock()
const harness = await startService({ clock })
const tus = tusClient(harness.tokens.telecaller)
const bytes = noise(1_000)

async function halfCome() {
  const url = await tus.begin(await harness.lead(), bytes.length)
  await tus.patch(url, 0, bytes.subarray(0, 500))
  return url
}

/** It goes on where it stands, which its being silent for too long would keep it from. */
async function expectAlive(url: string) {
  const head = await tus.head(url)
  expect([head.status, head.headers.get('upload-offset')]).toEqual([200, '500'])
}

test('no upload expires because the clock was set ahead: it has as long as ever', async () => {
  const url = await halfCome()
  clock.pass(20 * HOUR)
  await harness.service.sweep.run()
  clock.set(365 * 24 * HOUR)
  await expectAlive(url)
  await harness.service.sweep.run()
  await expectAlive(url)
  const other = await halfCome()
  clock.pass(5 * HOUR)
  expect((await tus.head(url)).status).toBe(410)
  await harness.service.sweep.run()
  await expectAlive(other)
  expect(await harness.files('uploads')).toEqual([other.split('/').pop()])
})

test('an upload whose last byte came in the future, by a clock that was set back, expires as ever', async () => {
  const url = await halfCome()
  clock.set(-365 * 24 * HOUR)
  const expires = Date.parse((await tus.head(url)).headers.get('upload-expires') as string)
  expect(expires).toBeLessThanOrEqual(clock.now() + 24 * HOUR)
  await harness.service.sweep.run()
  clock.pass(23 * HOUR)
  await expectAlive(url)
  clock.pass(2 * HOUR)
  expect((await tus.head(url)).status).toBe(410)
  await harness.restart()
  expect((await tus.head(url)).status).toBe(410)
})

test.for([
  ['ahead', 365 * 24 * HOUR],
  ['back', -365 * 24 * HOUR],
] as const)('an upload that never got a byte has its hour and no more when the clock is set %s', async ([, byMs]) => {
  const url = await tus.begin(await harness.lead(), bytes.length)
  clock.set(byMs)
  await harness.service.sweep.run()
  const head = await tus.head(url)
  expect(head.status).toBe(200)
  expect(Date.parse(head.headers.get('upload-expires') as string)).toBeLessThanOrEqual(clock.now() + HOUR)
  clock.pass(HOUR + 60_000)
  expect((await tus.head(url)).status).toBe(410)
})

test('a form that a dead process left is ended at the next start, though the clock went back meanwhile', async () => {
  const { leadId } = await harness.lead()
  const { id } = await harness.service.ingest.begin({
    id: crypto.randomUUID(),
    door: 'simple',
    caller: { id: 'telecaller-a', role: 'telecaller' },
    leadId,
    filename: 'call.wav',
    length: null,
  })
  clock.set(-2 * HOUR)
  await harness.restart()
  const state = async () => {
    return (await tablesOf(harness).select({ state: uploads.state }).from(uploads).where(eq(uploads.id, id)).get())
      ?.state
  }
  // Where instances share a database, it is looked at twice.
  await expect.poll(state, { timeout: 30_000 }).toBe('terminated')
})

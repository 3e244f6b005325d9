import { PassThrough } from 'node:stream'
import { setImmediate as nextTurn } from 'node:timers/promises'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type ReadingTurn, ReadingTurns } from '../src/storage/reading-turns.ts'

const PIECE = Buffer.alloc(64 * 1024)

/** A body that a client sends, and who reads it. */
function bodyOf(turns: ReadingTurns) {
  const source = new PassThrough({ highWaterMark: 2 ** 20 })
  const turn: ReadingTurn = turns.of(source)
  const body = { source, turn, taken: 0, ended: false, send: (pieces: number) => sends(source, pieces) }
  source.on('data', (piece: Buffer) => {
    body.taken += piece.length
    turn.took(piece.length)
  })
  source.on('end', () => {
    body.ended = true
    turn.end()
  })
  return body
}

const sends = (source: PassThrough, pieces: number) => {
  for (let i = 0; i < pieces; i++) source.write(PIECE)
}

async function until(done: () => boolean): Promise<void> {
  for (let i = 0; i < 10_000; i++) {
    if (done()) return
    await nextTurn()
  }
  throw new Error('it never came to that')
}

test('one body alone is never paused', async () => {
  const body = bodyOf(new ReadingTurns())
  let pauses = 0
  body.source.on('pause', () => pauses++)
  for (let i = 0; i < 100; i++) {
    body.send(10)
    await nextTurn()
  }
  expect(pauses).toBe(0)
})

test('of a hundred bodies that have bytes eight are read at once, and none is far ahead of another', async () => {
  const turns = new ReadingTurns()
  const bodies = Array.from({ length: 100 }, () => bodyOf(turns))
  for (const body of bodies) body.send(64)
  // Each has taken its first piece by which it asks for its turn.
  await nextTurn()
  for (let i = 0; i < 200; i++) {
    await nextTurn()
    const left = bodies.filter(({ source }) => source.readableLength > 0)
    expect(left.filter(({ source }) => !source.isPaused()).length).toBeLessThanOrEqual(8)
    if (left.length < bodies.length) break
    const taken = bodies.map((body) => body.taken)
    expect(Math.max(...taken) - Math.min(...taken)).toBeLessThanOrEqual(2 * 256 * 1024 + PIECE.length)
  }
  await until(() => bodies.every(({ taken }) => taken === 64 * PIECE.length))
})

test('bodies that fall silent in the middle keep no others waiting, and go on when they bring more', async () => {
  const turns = new ReadingTurns()
  const silent = Array.from({ length: 20 }, () => bodyOf(turns))
  for (const body of silent) body.send(1)
  await until(() => silent.every(({ taken }) => taken === PIECE.length))
  const busy = Array.from({ length: 20 }, () => bodyOf(turns))
  for (const body of busy) body.send(40)
  await until(() => busy.every(({ taken }) => taken === 40 * PIECE.length))
  for (const body of silent) body.send(1)
  await until(() => silent.every(({ taken }) => taken === 2 * PIECE.length))
})

test('a body whose writer takes no more gives its turn away, and asks for another one', async () => {
  const turns = new ReadingTurns()
  const held = Array.from({ length: 8 }, () => bodyOf(turns))
  for (const body of held) body.send(2)
  await nextTurn()
  for (const body of held) body.turn.hold()
  const other = bodyOf(turns)
  other.send(40)
  await until(() => other.taken === 40 * PIECE.length)
  for (const body of held) body.turn.goOn()
  await until(() => held.every(({ taken }) => taken === 2 * PIECE.length))
})

test('whatever comes, is held and ends in any order: every body that ends is read to its end', async () => {
  const step = fc.record({
    of: fc.nat(29),
    what: fc.constantFrom('send', 'send', 'send', 'hold', 'goOn', 'wait', 'destroy'),
    pieces: fc.integer({ min: 1, max: 12 }),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 120 }), async (steps) => {
      const turns = new ReadingTurns()
      const bodies = Array.from({ length: 30 }, () => bodyOf(turns))
      for (const { of, what, pieces } of steps) {
        const body = bodies[of] as (typeof bodies)[number]
        if (body.source.destroyed) continue
        if (what === 'send') body.send(pieces)
        else if (what === 'hold') body.turn.hold()
        else if (what === 'goOn') body.turn.goOn()
        else if (what === 'destroy') {
          body.source.destroy()
          body.turn.end()
        } else await nextTurn()
      }
      for (const body of bodies) {
        body.turn.goOn()
        body.source.end()
      }
      await until(() => bodies.every(({ ended, source }) => ended || source.destroyed))
      expect(turns.isWaitedFor).toBe(false)
    }),
    { numRuns: 100 },
  )
})

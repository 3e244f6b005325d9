import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Ownership } from '../src/uploads/ownership.ts'

/** Of uploads that nobody asks more of than their locks. */
const locks = (options: { waitMs?: number; onTakeover?: (id: string) => void } = {}) =>
  new Ownership({ load: () => Promise.reject(new Error('it is not asked for')), ...options })
const never = () => new AbortController().signal

describe('the lock of an upload', () => {
  test('is held by one at a time and given in the order of asking, whatever is given up in between', async () => {
    const request = fc.record({ id: fc.constantFrom('a', 'b'), steps: fc.nat({ max: 3 }), givesUp: fc.boolean() })
    await fc.assert(
      fc.asyncProperty(fc.array(request, { maxLength: 25 }), fc.scheduler(), async (requests, scheduler) => {
        const locker = locks()
        const holding = { a: 0, b: 0 }
        const served: Record<'a' | 'b', number[]> = { a: [], b: [] }
        const gaveUp = new Set<number>()
        const all = requests.map(async ({ id, steps, givesUp }, n) => {
          const leaving = new AbortController()
          if (givesUp) {
            void scheduler.schedule(Promise.resolve(), `${n} gives up`).then(() => leaving.abort())
          }
          try {
            await locker.hold(id, leaving.signal, async () => {
              holding[id] += 1
              expect(holding[id]).toBe(1)
              served[id].push(n)
              for (let i = 0; i < steps; i++) await scheduler.schedule(Promise.resolve(), `${n} works`)
              holding[id] -= 1
            })
          } catch (error) {
            expect(error).toMatchObject({ code: 'upload_locked', status: 423 })
            gaveUp.add(n)
          }
        })
        await scheduler.waitFor(Promise.all(all))
        for (const id of ['a', 'b'] as const) {
          const expected = requests.flatMap((each, n) => (each.id === id && !gaveUp.has(n) ? [n] : []))
          expect(served[id]).toEqual(expected)
        }
      }),
      { numRuns: 300 },
    )
  })

  test('is asked back from its holder once, as soon as somebody waits; each next holder in turn', async () => {
    const taken: string[] = []
    const locker = locks({ onTakeover: (id) => taken.push(id) })
    const asked: number[] = []
    const holder = (n: number) =>
      locker.hold('a', never(), async (wanted) => {
        if (!wanted.aborted) await new Promise((resolve) => wanted.addEventListener('abort', resolve, { once: true }))
        asked.push(n)
      })
    const first = holder(0)
    const second = holder(1)
    const third = locker.hold('a', never(), async () => asked.push(2))
    await Promise.all([first, second, third])
    expect(asked).toEqual([0, 1, 2])
    expect(taken).toEqual(['a', 'a'])
  })

  test('that is not given up in time is refused with 423 and Retry-After, and those behind wait on', async () => {
    const locker = locks({ waitMs: 50 })
    let letGo = () => {}
    const stuck = locker.hold('a', never(), () => new Promise<void>((resolve) => (letGo = resolve)))
    const refused = locker.hold('a', never(), async () => {})
    await expect(refused).rejects.toMatchObject({
      code: 'upload_locked',
      status: 423,
      headers: { 'Retry-After': expect.stringMatching(/^\d+$/) },
    })
    const patient = locker.hold('a', never(), async () => 'mine')
    letGo()
    await stuck
    expect(await patient).toBe('mine')
  })

  test('of a holder that fails goes to the next', async () => {
    const locker = locks()
    const failing = locker.hold('a', never(), async () => {
      await sleep(1)
      throw new Error('of its own')
    })
    const next = locker.hold('a', never(), async () => 'mine')
    await expect(failing).rejects.toThrow('of its own')
    expect(await next).toBe('mine')
  })

  test('costs nothing while somebody waits: no spinning', async () => {
    const locker = locks({ waitMs: 10_000 })
    let letGo = () => {}
    const held = locker.hold('a', never(), () => new Promise<void>((resolve) => (letGo = resolve)))
    const waiting = Array.from({ length: 200 }, () => locker.hold('a', never(), async () => {}))
    const before = process.cpuUsage()
    await sleep(500)
    const { user, system } = process.cpuUsage(before)
    letGo()
    await Promise.all([held, ...waiting])
    expect((user + system) / 1_000).toBeLessThan(150)
  })
})

/** Any split of a file into chunks, in any order, with repeats, corrections and restarts: the same bytes, one recording. */
import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { isS3 } from './support/home.ts'
import { base64, legacyClient } from './support/legacy.ts'
import { jsonOf, startService } from './support/service.ts'
import { tablesOf } from './support/tables.ts'
import { noise, tusClient } from './support/tus.ts'

const harness = await startService()
const legacy = legacyClient(harness)
const tus = tusClient(harness.tokens.telecaller)
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

type Step =
  | { do: 'send'; index: number }
  /** Other bytes, of another size perhaps: the right ones must come later. */
  | { do: 'spoil'; index: number; bytes: number }
  | { do: 'finalize too early' }
  | { do: 'restart' }

const plan = fc.integer({ min: 1, max: 9 }).chain((count) => {
  const index = fc.nat(count - 1)
  return fc.record({
    sizes: fc.array(fc.integer({ min: 1, max: 40_000 }), { minLength: count, maxLength: count }),
    order: fc.shuffledSubarray(
      Array.from({ length: count }, (_, i) => i),
      { minLength: count, maxLength: count },
    ),
    between: fc.array(
      fc.oneof(
        { weight: 4, arbitrary: fc.record({ do: fc.constant('send' as const), index }) },
        {
          weight: 3,
          arbitrary: fc.record({
            do: fc.constant('spoil' as const),
            index,
            bytes: fc.integer({ min: 1, max: 50_000 }),
          }),
        },
        { weight: 1, arbitrary: fc.record({ do: fc.constant('finalize too early' as const) }) },
        { weight: 1, arbitrary: fc.record({ do: fc.constant('restart' as const) }) },
      ),
      { maxLength: 10 },
    ),
    /** How many requests are under way at once. */
    atOnce: fc.integer({ min: 1, max: 4 }),
  })
})

test('any split, order, repeat, correction and restart gives the same bytes, once', { timeout: 60_000 }, async () => {
  await fc.assert(
    fc.asyncProperty(plan, async ({ sizes, order, between, atOnce }) => {
      const lead = await harness.lead()
      const id = await legacy.begin(lead)
      const parts = sizes.map((size) => noise(size))
      /** What the server must have, by index; what is not here never came. */
      const there = new Map<number, number>()
      const steps: Step[] = []
      for (const [i, index] of order.entries()) {
        // Each chunk comes right at least once, whatever came before.
        const step = between[i]
        if (step && step.do !== 'finalize too early') steps.push(step)
        steps.push({ do: 'send', index })
      }
      const rest = between.slice(order.length).filter((step) => step.do !== 'spoil')
      const early = between.filter((step) => step.do === 'finalize too early')

      const perform = async (step: Step) => {
        if (step.do === 'restart') return harness.restart()
        if (step.do === 'finalize too early') return
        const bytes = step.do === 'send' ? (parts[step.index] as Buffer) : noise(step.bytes)
        const res = await legacy.append(lead, id, step.index, bytes)
        expect(res.status).toBe(202)
        if (atOnce > 1) return
        there.set(step.index, bytes.length)
        const sum = [...there.values()].reduce((a, b) => a + b, 0)
        expect(await res.json()).toMatchObject({ chunks_received: there.size, bytes_received: sum })
      }
      let under: Promise<void>[] = []
      let last = new Map<number, number>()
      for (const step of steps) {
        // The order of two requests for one chunk that are under way at once is anybody's.
        const conflicts = step.do === 'restart' || ('index' in step && last.has(step.index))
        if (conflicts || under.length >= atOnce) {
          await Promise.all(under)
          under = []
          last = new Map()
        }
        under.push(perform(step))
        if ('index' in step) last.set(step.index, 1)
        if (step.do === 'restart') {
          await Promise.all(under)
          under = []
        }
      }
      await Promise.all(under)
      if (early.length > 0) {
        const hole = await legacy.finalize(lead, id, parts.length + 1)
        expect((await jsonOf(hole)).missing_chunks).toEqual([parts.length])
      }
      // A spoilt one may have been last: the right ones are sent once more.
      for (const index of parts.keys()) await perform({ do: 'send', index })
      for (const step of rest) await perform(step)

      const whole = Buffer.concat(parts)
      const offset = (await tus.head(`${lead.uploads}/${id}`)).headers.get('upload-offset')
      expect(Number(offset)).toBeGreaterThan(0)
      const res = await legacy.finalize(lead, id, parts.length)
      const recording = await jsonOf(res)
      expect([res.status, recording.size, recording.sha256]).toEqual([200, whole.length, sha256(whole)])
      const played = await harness.api('GET', `${lead.recordings}/${recording.id}`)
      expect(Buffer.from(await played.arrayBuffer()).equals(whole)).toBe(true)
      expect((await jsonOf(await harness.api('GET', lead.recordings))).recordings).toHaveLength(1)
      await expect.poll(async () => (await harness.files('uploads')).filter((file) => file.startsWith(id))).toEqual([])
      const rows = await tablesOf(harness).query.chunks.findMany()
      expect(rows.filter((row) => row.uploadId === id)).toEqual([])
    }),
    // A restart and a chunk take longer over two servers.
    { numRuns: isS3 ? 4 : 40, endOnFailure: true },
  )
})

test('a hundred chunks from the last to the first, and all of them once more', async () => {
  const lead = await harness.lead()
  const id = await legacy.begin(lead)
  const parts = Array.from({ length: 100 }, (_, i) => noise(1 + ((i * 7_919) % 3_000)))
  for (let i = 99; i >= 0; i--) await legacy.append(lead, id, i, base64(parts[i] as Buffer))
  await Promise.all(parts.map((part, i) => legacy.append(lead, id, i, part)))
  const recording = await jsonOf(await legacy.finalize(lead, id, 100))
  expect(recording.sha256).toBe(sha256(Buffer.concat(parts)))
})

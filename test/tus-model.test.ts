/**
 * Two clients at work on one upload, at random, against the ten lines that an upload comes down to. The model and the
 * server agree on every offset, and what is recorded in the end is what was sent.
 */
import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { isS3 } from './support/home.ts'
import { connectTo } from './support/raw.ts'
import { startService } from './support/service.ts'
import { metadata, noise, OFFSET_TYPE, stagedBytes, tusClient } from './support/tus.ts'

const harness = await startService()
const tus = tusClient(harness.tokens.telecaller)
const LENGTH = 6_000
const bytes = noise(LENGTH)
const sha1 = (body: Uint8Array) => `sha1 ${createHash('sha1').update(body).digest('base64')}`

/** An upload: how far it is, whether its length is told, whether it is still there. */
interface Model {
  offset: number
  declared: boolean
  gone: boolean
}

interface Append {
  kind: 'append'
  /** How far from where the upload stands; 0 is right. */
  off: number
  size: number
  checksum: 'none' | 'right' | 'wrong'
  declares: boolean
}

/** What an append comes to. */
function appended(model: Model, { off, size, checksum, declares }: Append): { status: number; model: Model } {
  const refused = (status: number, declared = model.declared) => ({ status, model: { ...model, declared } })
  if (model.gone) return refused(410)
  if (off !== 0) return refused(409)
  const declared = model.declared || declares
  if (declared && model.offset + size > LENGTH) return refused(413, declared)
  if (checksum === 'wrong' && model.offset < LENGTH) return refused(460, declared)
  return { status: 204, model: { ...model, declared, offset: model.offset + size } }
}

type Operation =
  | Append
  | { kind: 'head' }
  | { kind: 'restart' }
  | { kind: 'terminate' }
  /** The line dies after `sent` bytes of `size`. */
  | { kind: 'cut'; size: number; sent: number; checksum: boolean }
  /** A second client asks while the first has sent a part. */
  | { kind: 'takeover'; size: number; sent: number }
  /** Both send the same bytes at once. */
  | { kind: 'race'; sizes: readonly [number, number] }

const size = fc.integer({ min: 0, max: 1_500 })
const operation: fc.Arbitrary<Operation> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant('append' as const),
      off: fc.oneof(
        { weight: 4, arbitrary: fc.constant(0) },
        { weight: 1, arbitrary: fc.integer({ min: -50, max: 50 }) },
      ),
      size,
      checksum: fc.constantFrom('none' as const, 'none' as const, 'right' as const, 'wrong' as const),
      declares: fc.boolean(),
    }),
  },
  { weight: 2, arbitrary: fc.constant({ kind: 'head' as const }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('cut' as const),
      size: fc.integer({ min: 1, max: 1_500 }),
      sent: size,
      checksum: fc.boolean(),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('takeover' as const),
      size: fc.integer({ min: 1, max: 1_500 }),
      sent: size,
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('race' as const), sizes: fc.tuple(size, size) }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'restart' as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'terminate' as const }) },
)

const offsetIn = (res: Response) => Number(res.headers.get('upload-offset'))

/** The first `sent` bytes of a PATCH of `size`, on a connection of its own, once they are in the file. */
async function begun(url: string, offset: number, size: number, sent: number, headers: Record<string, string> = {}) {
  const connection = await connectTo(harness.url, {
    'Tus-Resumable': '1.0.0',
    Authorization: `Bearer ${harness.tokens.telecaller}`,
  })
  connection.head('PATCH', url, {
    'Upload-Offset': String(offset),
    'Content-Type': OFFSET_TYPE,
    'Content-Length': String(size),
    ...headers,
  })
  if (sent > 0) connection.send(bytes.subarray(offset, offset + sent))
  await expect
    .poll(() => stagedBytes(harness, url), { interval: 5, timeout: 10_000 })
    .toBeGreaterThanOrEqual(offset + sent)
  return connection
}

/** Runs one operation and gives what the model has become. */
async function run(url: string, model: Model, each: Operation): Promise<Model> {
  const { offset } = model
  const room = LENGTH - offset
  if (each.kind === 'append') {
    // Undeclared, more could come than there are bytes to send.
    const wanted = model.declared || each.declares ? each.size : Math.min(each.size, room)
    const append = { ...each, size: wanted, off: Math.max(each.off, -offset) }
    const body = Buffer.concat([bytes.subarray(offset, offset + wanted), noise(Math.max(0, wanted - room))])
    const expected = appended(model, append)
    const res = await tus.patch(url, offset + append.off, body, {
      ...(append.declares && { 'upload-length': String(LENGTH) }),
      ...(append.checksum !== 'none' && {
        'upload-checksum': append.checksum === 'right' ? sha1(body) : sha1(noise(9)),
      }),
    })
    expect([append, model, res.status]).toEqual([append, model, expected.status])
    if (res.status === 204 || res.status === 409) expect(offsetIn(res)).toBe(expected.model.offset)
    return expected.model
  }
  if (each.kind === 'restart') {
    await harness.restart()
    return model
  }
  if (each.kind === 'terminate') {
    // Seldom, or few sequences would come far.
    if (offset < LENGTH / 2) return model
    expect((await tus.terminate(url)).status).toBe(model.gone ? 410 : 204)
    return { ...model, gone: true }
  }
  if (each.kind === 'head' || model.gone || room === 0) return model
  if (each.kind === 'race') {
    const sizes = each.sizes.map((n) => Math.min(n, room))
    const both = await Promise.all(sizes.map((n) => tus.patch(url, offset, bytes.subarray(offset, offset + n))))
    const now = offsetIn(await tus.head(url))
    for (const res of both) {
      expect([204, 409, 423]).toContain(res.status)
      if (res.status === 204) expect(now).toBeGreaterThanOrEqual(offsetIn(res))
    }
    expect(now).toBeGreaterThanOrEqual(offset)
    expect(now).toBeLessThanOrEqual(offset + sizes.reduce((sum, n) => sum + n, 0))
    return { ...model, offset: now }
  }
  const length = Math.min(each.size, room)
  const sent = Math.min(each.sent, length - 1)
  const checked = each.kind === 'cut' && each.checksum
  const connection = await begun(url, offset, length, sent, checked ? { 'Upload-Checksum': sha1(noise(1)) } : {})
  if (each.kind === 'cut') connection.destroy()
  const now = offsetIn(await tus.head(url))
  expect(now).toBe(checked ? offset : offset + sent)
  if (each.kind === 'takeover') {
    expect((await connection.answer()).status).toBe(423)
    connection.destroy()
  }
  return { ...model, offset: now }
}

test('the model and the server agree on every offset', { timeout: 60_000 }, async () => {
  const lead = await harness.lead()
  const named = { 'upload-metadata': metadata({ filename: 'call.wav', call_log_id: lead.callLogId }) }
  await fc.assert(
    fc.asyncProperty(
      fc.boolean(),
      fc.array(operation, { minLength: 3, maxLength: 14 }),
      async (declared, operations) => {
        const made = await tus.create(lead.uploads, {
          ...named,
          ...(declared ? { 'upload-length': String(LENGTH) } : { 'upload-defer-length': '1' }),
        })
        const url = made.headers.get('location') as string
        let model: Model = { offset: 0, declared, gone: false }
        for (const each of operations) {
          model = await run(url, model, each)
          const head = await tus.head(url)
          expect(head.status).toBe(model.gone ? 410 : 200)
          if (model.gone) continue
          expect(offsetIn(head)).toBe(model.offset)
          expect(head.headers.get('upload-length')).toBe(model.declared ? String(LENGTH) : null)
          expect(head.headers.has('recording-id')).toBe(model.declared && model.offset === LENGTH)
        }
        if (model.gone) return
        const rest = bytes.subarray(model.offset)
        const last = await tus.patch(url, model.offset, rest, { 'upload-length': String(LENGTH) })
        expect(last.status).toBe(204)
        const played = await harness.api('GET', `${lead.recordings}/${last.headers.get('recording-id')}`)
        expect(Buffer.from(await played.arrayBuffer()).equals(bytes)).toBe(true)
      },
    ),
    // A restart takes longer over two servers.
    { numRuns: isS3 ? 5 : 20 },
  )
})

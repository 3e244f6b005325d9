/** The real client, over good lines and bad ones. */
import { createHash, randomUUID } from 'node:crypto'
import { Readable } from 'node:stream'
import { Upload, type UploadOptions } from 'tus-js-client'
import { describe, expect, test } from 'vitest'
import { cuttingProxy } from './support/cutting-proxy.ts'
import { jsonOf, startService, type TestLead } from './support/service.ts'
import { noise, tusClient } from './support/tus.ts'

const harness = await startService()
const tus = tusClient(harness.tokens.telecaller)
const MIB = 1024 * 1024
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

const optionsFor = (lead: TestLead): UploadOptions => ({
  endpoint: lead.uploads,
  chunkSize: MIB,
  retryDelays: [0, 50, 100, 200, 400],
  metadata: { filename: 'call.wav', filetype: 'audio/wav', call_log_id: lead.callLogId },
  headers: { Authorization: `Bearer ${harness.tokens.telecaller}` },
})

/** Runs the upload to its end. @throws what the client gives up with */
const upload = (source: Buffer | Readable, options: UploadOptions): Promise<Upload> =>
  new Promise((resolve, reject) => {
    const running = new Upload(source as never, { ...options, onSuccess: () => resolve(running), onError: reject })
    running.start()
  })

/** The recordings of a lead, as the list tells them. */
const recordingsOf = async (lead: TestLead) =>
  (await jsonOf(await harness.api('GET', lead.recordings))).recordings as { id: string; size: number; sha256: string }[]

describe('20 MiB in chunks of 1 MiB, cut three times', () => {
  test('the last time with a new client that knows the address alone: one recording, the same bytes, nothing left behind', async () => {
    const lead = await harness.lead()
    const bytes = noise(20 * MIB)
    const budgets = [5.5 * MIB, 4.2 * MIB, 3.3 * MIB]
    const proxy = await cuttingProxy(
      () => harness.url,
      () => budgets.shift() ?? Number.POSITIVE_INFINITY,
    )
    const options = { ...optionsFor(lead), endpoint: proxy.through(lead.uploads) }
    let address = ''
    const first = upload(bytes, {
      ...options,
      onAfterResponse: (req, res) => {
        if (req.getMethod() === 'POST') address = res.getHeader('Location') ?? ''
      },
      onShouldRetry: () => proxy.cuts < 3,
    })
    await expect(first).rejects.toThrow()
    expect(proxy.cuts).toBe(3)

    await upload(bytes, { ...options, endpoint: null as never, uploadUrl: address })
    expect(await recordingsOf(lead)).toMatchObject([{ size: bytes.length, sha256: sha256(bytes) }])
    await expect.poll(() => harness.files('uploads')).toEqual([])

    const [recording] = await recordingsOf(lead)
    const named = async () => {
      const head = await tus.head(new URL(new URL(address).pathname, harness.url).href)
      return [head.status, head.headers.get('upload-offset'), head.headers.get('recording-id')]
    }
    expect(await named()).toEqual([200, String(bytes.length), recording?.id])
    const again = await Promise.all(
      Array.from({ length: 8 }, () =>
        tus.patch(new URL(new URL(address).pathname, harness.url).href, bytes.length, noise(0)),
      ),
    )
    for (const res of again) expect([res.status, res.headers.get('recording-id')]).toEqual([204, recording?.id])
    await harness.restart()
    expect(await named()).toEqual([200, String(bytes.length), recording?.id])
    expect(await recordingsOf(lead)).toHaveLength(1)
  })
})

test('eight empty PATCHes at once finish an upload that waits for it, once', async () => {
  const lead = await harness.lead()
  const made = await tus.create(
    lead.uploads,
    {
      'upload-defer-length': '1',
      'upload-metadata': `filename ${btoa('a.wav')},call_log_id ${btoa(lead.callLogId)}`,
    },
    noise(1_000),
  )
  const url = made.headers.get('location') as string
  const answers = await Promise.all(
    Array.from({ length: 8 }, () => tus.patch(url, 1_000, noise(0), { 'upload-length': '1000' })),
  )
  for (const res of answers) expect([204, 423]).toContain(res.status)
  const ids = new Set(answers.map((res) => res.headers.get('recording-id')).filter(Boolean))
  expect(ids.size).toBe(1)
  expect(await recordingsOf(lead)).toHaveLength(1)
})

describe.for([
  ['a good line', () => Number.POSITIVE_INFINITY],
  // Different at each connection, the same at each run.
  [
    'a line that breaks off again and again',
    (n: number) => (n > 9 ? Number.POSITIVE_INFINITY : (0.4 + ((n * 7) % 10) / 8) * MIB),
  ],
] as const)('over %s', ([line, budgetOf]) => {
  const bytes = noise(6 * MIB + 12_345)

  async function throughProxy() {
    const lead = await harness.lead()
    let connections = 0
    const proxy = await cuttingProxy(
      () => harness.url,
      () => budgetOf(connections++),
    )
    return { lead, proxy, options: { ...optionsFor(lead), endpoint: proxy.through(lead.uploads) } }
  }
  const kept = async ({ lead, proxy }: Awaited<ReturnType<typeof throughProxy>>) => {
    if (line !== 'a good line') expect(proxy.cuts).toBeGreaterThan(1)
    expect(await recordingsOf(lead)).toMatchObject([{ size: bytes.length, sha256: sha256(bytes) }])
    await expect.poll(() => harness.files('uploads')).toEqual([])
  }

  test('one chunk after the other', async () => {
    const through = await throughProxy()
    await upload(bytes, through.options)
    await kept(through)
  })
  test('all in one request', async () => {
    const through = await throughProxy()
    await upload(bytes, { ...through.options, chunkSize: Number.POSITIVE_INFINITY })
    await kept(through)
  })
  test('four parts at once', async () => {
    const through = await throughProxy()
    await upload(bytes, { ...through.options, parallelUploads: 4 })
    await kept(through)
  })
  test('from a stream whose length is not known', async () => {
    const through = await throughProxy()
    const pieces = Array.from({ length: Math.ceil(bytes.length / 50_000) }, (_, i) =>
      bytes.subarray(i * 50_000, (i + 1) * 50_000),
    )
    await upload(Readable.from(pieces, { objectMode: false }), { ...through.options, uploadLengthDeferred: true })
    await kept(through)
  })
  test('with a method override, as clients without PATCH do', async () => {
    const through = await throughProxy()
    await upload(bytes, { ...through.options, overridePatchMethod: true })
    await kept(through)
  })
})

test('the first bytes may come with the creation', async () => {
  const lead = await harness.lead()
  const bytes = noise(3 * MIB)
  const offsets: (string | undefined)[] = []
  await upload(bytes, {
    ...optionsFor(lead),
    uploadDataDuringCreation: true,
    onAfterResponse: (req, res) => {
      if (req.getMethod() === 'POST') offsets.push(res.getHeader('Upload-Offset'))
    },
  })
  expect(offsets).toEqual([String(MIB)])
  expect(await recordingsOf(lead)).toMatchObject([{ size: bytes.length, sha256: sha256(bytes) }])
})

describe.for([
  ['breaks off', false],
  ['stalls with its socket open', true],
] as const)('under a key, over a line that %s at the first try', ([, stalls]) => {
  const bytes = noise(3 * MIB)
  const stored = async (more: Partial<UploadOptions>, budgets: number[]) => {
    const lead = await harness.lead()
    const proxy = await cuttingProxy(
      () => harness.url,
      () => budgets.shift() ?? Number.POSITIVE_INFINITY,
      { stalls },
    )
    const options = optionsFor(lead)
    await upload(bytes, {
      ...options,
      endpoint: proxy.through(lead.uploads),
      headers: { ...options.headers, 'Idempotency-Key': `"${randomUUID()}"` },
      ...more,
    })
    expect(proxy.cuts).toBeGreaterThan(0)
    expect(await recordingsOf(lead)).toMatchObject([{ size: bytes.length, sha256: sha256(bytes) }])
  }

  test.for([1, 2, 3, 4])('the bytes of a creation are kept, and it goes on: time %i of 4', async (n) => {
    await stored({ uploadDataDuringCreation: true }, [(n * MIB) / 5])
  })
  test.for([1, 2, 3, 4])('equal parts and unequal ones become one recording: time %i of 4', async (n) => {
    const boundaries = [
      { start: 0, end: n * 1_000 },
      { start: n * 1_000, end: bytes.length },
    ]
    const parts = n % 2 === 0 ? { parallelUploads: n } : { parallelUploads: 2, parallelUploadBoundaries: boundaries }
    // One of two connections has the longer part.
    await stored(parts, [MIB / 2, MIB / 2])
  })
  test.for([1, 2, 3, 4])('parts whose bytes come with their creation: time %i of 4', async (n) => {
    await stored({ parallelUploads: 2, uploadDataDuringCreation: true }, [(n * MIB) / 5])
  })
})

test('the client ends an upload for good', async () => {
  const lead = await harness.lead()
  const url = await tus.begin(lead, 100)
  await Upload.terminate(url, optionsFor(lead))
  expect((await tus.head(url)).status).toBe(410)
})

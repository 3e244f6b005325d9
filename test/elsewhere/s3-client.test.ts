/** S3's protocol over a real server, and what becomes of its faults. */
import { createHash, randomBytes } from 'node:crypto'
import { beforeAll, describe, expect, test } from 'vitest'
import { TruncatedBytes } from '../../src/storage/bytes.ts'
import { connectS3, type ObjectStore } from '../../src/storage/s3/s3-client.ts'
import { type Bucket, hasS3, type S3Server, saysWhereS3IsMissing, startS3, withCredentials } from '../support/s3.ts'
import { type FaultyStore, faultyStore } from '../support/store-faults.ts'

saysWhereS3IsMissing()

async function all<T>(source: AsyncIterable<T>): Promise<T[]> {
  const each: T[] = []
  for await (const one of source) each.push(one)
  return each
}

describe.skipIf(!hasS3)('an S3 server', () => {
  let server: S3Server
  let bucket: Bucket
  let faults: FaultyStore
  let store: ObjectStore

  const connect = (name: string) =>
    connectS3({ bucket: name, prefix: 'calls/', endpoint: faults.endpoint, region: undefined, pathStyle: true })

  beforeAll(async () => {
    withCredentials()
    server = await startS3()
    bucket = await server.bucket()
    faults = await faultyStore(server.endpoint)
    store = await connect(bucket.name)
    return () => store.close()
  })

  test('keeps objects under the prefix, gives any range of them, and removes many at once', async () => {
    const bytes = randomBytes(100_000)
    await store.put('a/one', bytes)
    await store.put('a/two', bytes, createHash('sha256').update(bytes).digest('hex'))
    expect(await bucket.objects()).toEqual([
      { name: 'calls/a/one', bytes: 100_000 },
      { name: 'calls/a/two', bytes: 100_000 },
    ])
    expect(await store.sizeOf('a/one')).toBe(100_000)
    const { size, stream } = await store.get('a/one', 5, 99_999_999)
    expect(size).toBe(100_000)
    expect(Buffer.concat(await all<Buffer>(stream)).equals(bytes.subarray(5))).toBe(true)
    await expect(store.get('a/one', 100_000, 100_001)).rejects.toBeInstanceOf(TruncatedBytes)
    await store.copy('a/one', 'b/três')
    expect((await all(store.list('b/'))).map(({ name, bytes }) => [name, bytes])).toEqual([['b/três', 100_000]])
    faults.forget()
    await store.remove(['a/one', 'a/two', 'b/três', 'a/none'])
    expect(faults.counts).toEqual({ 'delete-many': 1 })
    expect(await bucket.objects()).toEqual([])
  })

  test('puts parts together, and shows what is unfinished until it is aborted', async () => {
    const first = randomBytes(5 * 2 ** 20)
    const id = await store.begin('big')
    const parts = [await store.part('big', id, 1, first), await store.part('big', id, 2, Buffer.from('end'))]
    expect(await all(store.unfinished('b'))).toMatchObject([{ key: 'big', uploadId: id }])
    await store.complete('big', id, parts)
    expect((await bucket.read('calls/big'))?.equals(Buffer.concat([first, Buffer.from('end')]))).toBe(true)
    const aborted = await store.begin('aborted')
    await store.part('aborted', aborted, 1, Buffer.from('part'))
    for (const _ of [1, 2]) await store.abort('aborted', aborted)
    expect(await all(store.unfinished(''))).toEqual([])
    await store.remove(['big'])
    expect(await bucket.parts()).toEqual([])
  })

  test('lets anybody read who has an address, with the headers that were signed', async () => {
    await store.put('call.wav', Buffer.from('0123456789'))
    const described = {
      contentType: 'audio/wav',
      disposition: "inline; filename*=UTF-8''%E0%A4%95%E0%A5%89%E0%A4%B2.wav",
      cacheControl: 'private, max-age=60',
    }
    const address = await store.addressOf('call.wav', 60, described)
    const res = await fetch(address, { headers: { range: 'bytes=2-4' } })
    expect([res.status, await res.text()]).toEqual([206, '234'])
    expect(res.headers.get('content-type')).toBe(described.contentType)
    expect(res.headers.get('content-disposition')).toBe(described.disposition)
    expect(res.headers.get('cache-control')).toBe(described.cacheControl)
    expect((await fetch(address.replace('call.wav', 'other.wav'))).status).toBe(403)
  })

  describe('whose faults have the codes of a disk’s:', () => {
    test('an object that is not there', async () => {
      expect(await store.sizeOf('none')).toBeUndefined()
      await expect(store.get('none', 0, 1)).rejects.toMatchObject({ code: 'ENOENT' })
    })

    test('a bucket that is not there is no missing object', async () => {
      const nowhere = await connect('no-such-bucket')
      await expect(nowhere.sizeOf('none')).rejects.toMatchObject({ code: 'EIO', reason: 'NoSuchBucket' })
      await expect(nowhere.get('none', 0, 1)).rejects.toMatchObject({ code: 'EIO' })
      nowhere.close()
    })

    test('a bucket whose quota is used up', async () => {
      await bucket.limit(10)
      await expect(store.put('more', randomBytes(11))).rejects.toMatchObject({ code: 'ENOSPC' })
      await bucket.limit(undefined)
    })

    test.for([
      [507, 'InsufficientStorage', 'ENOSPC'],
      [403, 'AccessDenied', 'EACCES'],
      [503, 'SlowDown', 'EAGAIN'],
      [500, 'InternalError', 'EAGAIN'],
      [400, 'MalformedXML', 'EIO'],
    ] as const)('%i %s', async ([status, reason, code]) => {
      faults.fail(() => ({ status, code: reason }))
      await expect(store.put('refused', Buffer.from('bytes'))).rejects.toMatchObject({ code, reason })
      faults.mend()
    })

    test('a store that refuses connections', async () => {
      await faults.refuse()
      await expect(store.put('refused', Buffer.from('bytes'))).rejects.toMatchObject({ code: 'EAGAIN' })
      await faults.accept()
    })
  })

  test.for(['put', 'get', 'head', 'delete-many'] as const)('is asked three times: %s', async (kind) => {
    await store.put('steady', Buffer.from('bytes'))
    faults.forget()
    faults.fail((asked) => (asked.kind === kind && asked.nth < 3 ? { status: 503, code: 'SlowDown' } : undefined))
    const work = {
      put: () => store.put('steady', Buffer.from('bytes')),
      get: async () => (await store.get('steady', 0, 1)).stream.destroy(),
      head: () => store.sizeOf('steady'),
      'delete-many': () => store.remove(['steady']),
    }
    await work[kind]()
    expect(faults.counts).toEqual({ [kind]: 3 })
    faults.mend()
  })
})

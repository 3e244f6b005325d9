/** What the staging in a bucket does beyond the contract: requests, memory, and whose an object is. */
import { PassThrough } from 'node:stream'
import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { newId } from '../../src/ids.ts'
import type { Segment, Staged } from '../../src/storage/staging.ts'
import { bodyOf, sha256Hex } from '../support/bodies.ts'
import { hasS3, type S3Server, saysWhereS3IsMissing, startS3 } from '../support/s3.ts'
import { MEMORY_BYTES, s3Stores } from '../support/s3-stores.ts'
import { type FaultyStore, faultyStore } from '../support/store-faults.ts'
import { noise } from '../support/tus.ts'

saysWhereS3IsMissing()

const MIB = 2 ** 20
type Home = Awaited<ReturnType<typeof s3Stores>>

describe.skipIf(!hasS3)('an upload in a bucket', () => {
  let server: S3Server
  let faults: FaultyStore
  let home: Home

  beforeAll(async () => {
    server = await startS3()
    faults = await faultyStore(server.endpoint)
    home = await s3Stores(server, faults.endpoint)
    return () => home.close()
  })
  beforeEach(() => {
    faults.mend()
    faults.forget()
  })

  const newKey = () => `lead/${newId()}.wav`
  const recording = (key: string) => home.bucket.read(`calls/recordings/${key}`)
  const staged = (id: string) => home.bucket.objects(`calls/uploads/${id}/`)

  /** As the core does it, each request at the staging that is given for it. */
  class Upload {
    readonly id = newId()
    readonly bytes: Buffer
    readonly rows: Segment[] = []
    offset = 0

    constructor(bytes: Buffer) {
      this.bytes = bytes
    }

    at(staging = home.staging): Staged {
      return staging.of(this.id, this.rows)
    }

    commit(handle: Staged): void {
      this.rows.push(...handle.pending)
      handle.recorded()
    }

    async patch(size: number, staging = home.staging): Promise<Staged> {
      const handle = this.at(staging)
      const [at, end] = [this.offset, this.offset + size]
      const body = bodyOf(this.bytes.subarray(at, end))
      const written = await handle.append(body, at, { length: this.bytes.length })
      expect(written).toEqual({ offset: end, end: 'all' })
      this.offset = end
      if (end < this.bytes.length) {
        this.commit(handle)
        handle.forget()
      }
      return handle
    }

    async finish(handle: Staged): Promise<string> {
      const key = newKey()
      const reader = handle.reader()
      expect(Buffer.from(await reader.read(0, 4_100))).toEqual(this.bytes.subarray(0, 4_100))
      await reader.file()
      expect(await handle.sha256(this.bytes.length)).toBe(sha256Hex(this.bytes))
      await reader.close()
      await handle.moveTo(key)
      await handle.discard()
      return key
    }
  }

  test('in three requests to one instance takes three PUTs and one removal', async () => {
    const upload = new Upload(noise(3 * MIB))
    for (const _ of [1, 2]) await upload.patch(MIB)
    const key = await upload.finish(await upload.patch(MIB))
    expect(faults.counts).toEqual({ put: 3, 'delete-many': 1 })
    expect((await recording(key))?.equals(upload.bytes)).toBe(true)
    expect(await staged(upload.id)).toEqual([])
    expect(home.staging.heldBytes).toBe(0)
  })

  test('in three requests to three instances takes two GETs more', async () => {
    const upload = new Upload(noise(3 * MIB))
    await upload.patch(MIB, home.again())
    await upload.patch(MIB, home.again())
    const key = await upload.finish(await upload.patch(MIB))
    expect(faults.counts).toEqual({ put: 3, get: 2, 'delete-many': 1 })
    expect((await recording(key))?.equals(upload.bytes)).toBe(true)
  })

  test('in one request takes one PUT', async () => {
    const upload = new Upload(noise(3 * MIB))
    const key = await upload.finish(await upload.patch(3 * MIB))
    expect(faults.counts).toEqual({ put: 1 })
    expect((await recording(key))?.equals(upload.bytes)).toBe(true)
    expect(home.staging.heldBytes).toBe(0)
  })

  test('of unknown length in one form takes one PUT, or one more where its finish fails; cut, it is stored', async () => {
    const upload = new Upload(noise(MIB))
    const handle = upload.at()
    await handle.append(bodyOf(upload.bytes), 0, { movesOn: true })
    expect([handle.pending, faults.counts]).toEqual([[], {}])
    const key = await upload.finish(handle)
    expect(faults.counts).toEqual({ put: 1 })
    expect((await recording(key))?.equals(upload.bytes)).toBe(true)
    const failed = new Upload(noise(MIB)).at()
    await failed.append(bodyOf(upload.bytes), 0, { movesOn: true })
    await failed.sync()
    expect(failed.pending).toMatchObject([{ position: 0, size: MIB }])
    const cut = new Upload(noise(MIB)).at()
    const dying = new PassThrough()
    dying.write(upload.bytes)
    const appended = cut.append(dying, 0, { movesOn: true })
    await expect.poll(() => cut.sizeAtHand()).toBe(MIB)
    dying.destroy()
    expect(await appended).toEqual({ offset: MIB, end: 'cut' })
    expect(cut.pending).toMatchObject([{ position: 0, size: MIB }])
    for (const each of [failed, cut]) await each.discard()
    expect(home.staging.heldBytes).toBe(0)
  })

  test('of more than 16 MiB is stored every 8 MiB, told of each time, and put together of parts of 8 MiB', async () => {
    const upload = new Upload(noise(20 * MIB + 5))
    const handle = upload.at()
    const told: number[] = []
    const onCheckpoint = async (offset: number) => {
      told.push(offset)
      upload.commit(handle)
    }
    const written = await handle.append(bodyOf(upload.bytes), 0, { length: upload.bytes.length, onCheckpoint })
    expect(written).toEqual({ offset: upload.bytes.length, end: 'all' })
    expect(Math.floor((told[0] as number) / MIB)).toBe(8)
    upload.commit(handle)
    expect(upload.rows.map(({ position, size }) => Math.floor((position + size) / MIB))).toEqual([8, 16])
    const key = await upload.finish(handle)
    expect(faults.counts).toMatchObject({ put: 2, create: 1, part: 3, complete: 1, 'delete-many': 1 })
    expect((await recording(key))?.equals(upload.bytes)).toBe(true)
    expect(await home.bucket.objects(`calls/uploads/${upload.id}`)).toEqual([])
  })

  test('that can not be put together of parts leaves none behind', async () => {
    const upload = new Upload(noise(17 * MIB))
    const handle = await upload.patch(17 * MIB)
    const before = await home.bucket.parts()
    faults.fail(({ kind, nth }) =>
      kind === 'part' && nth >= 2 ? { status: 507, code: 'InsufficientStorage' } : undefined,
    )
    const key = newKey()
    await expect(handle.moveTo(key)).rejects.toMatchObject({ code: 'ENOSPC' })
    expect(faults.counts.abort).toBe(1)
    expect(await home.library.sizeOf(key)).toBeUndefined()
    expect(await home.bucket.parts()).toEqual(before)
    faults.mend()
    await handle.moveTo(key)
    expect((await recording(key))?.equals(upload.bytes)).toBe(true)
    await handle.discard()
  })

  test('whose last answer is lost is there all the same: of one PUT, and of parts', async () => {
    for (const [size, kind] of [
      [MIB, 'put'],
      [17 * MIB, 'complete'],
    ] as const) {
      const upload = new Upload(noise(size))
      const handle = await upload.patch(size)
      faults.forget()
      faults.fail((asked) => (asked.kind === kind && asked.nth === 1 ? { answerLost: true } : undefined))
      const key = newKey()
      await handle.moveTo(key)
      expect((await recording(key))?.equals(upload.bytes)).toBe(true)
      await handle.discard()
    }
  })

  test('that could not move on keeps its last bytes as a segment, with which any instance finishes it', async () => {
    const upload = new Upload(noise(2 * MIB))
    await upload.patch(MIB)
    const handle = await upload.patch(MIB)
    faults.fail(({ kind, url }) =>
      kind === 'put' && url.includes('/recordings/') ? { status: 503, code: 'SlowDown' } : undefined,
    )
    await expect(handle.moveTo(newKey())).rejects.toMatchObject({ code: 'EAGAIN' })
    await handle.sync()
    upload.commit(handle)
    handle.forget()
    faults.mend()
    const key = await upload.finish(upload.at(home.again()))
    expect((await recording(key))?.equals(upload.bytes)).toBe(true)
  })

  test('whose commit failed after it had moved still has its last bytes to store', async () => {
    const upload = new Upload(noise(MIB))
    const handle = await upload.patch(MIB)
    await handle.moveTo(newKey())
    await handle.sync()
    upload.commit(handle)
    expect(upload.rows.map(({ position, size }) => [position, size])).toEqual([[0, MIB]])
    const key = await upload.finish(upload.at(home.again()))
    expect((await recording(key))?.equals(upload.bytes)).toBe(true)
  })

  test('lacks an acknowledged segment: its finish says so, unless another finish has moved it', async () => {
    const upload = new Upload(noise(2 * MIB))
    await upload.patch(MIB)
    await (await upload.patch(MIB)).sync()
    const whole = upload.at(home.again())
    await upload.at().discard()
    const key = newKey()
    await expect(whole.moveTo(key)).rejects.toMatchObject({ code: 'ENOENT' })
    await expect(whole.sha256(MIB)).rejects.toMatchObject({ code: 'ENOENT' })
    const other = new Upload(upload.bytes.subarray(0, MIB))
    const moved = await other.patch(MIB)
    await moved.moveTo(key)
    await whole.moveTo(key)
    moved.forget()
  })

  test('whose checksum fails leaves nothing, also of what was stored on the way', async () => {
    const upload = new Upload(noise(10 * MIB))
    const handle = upload.at()
    const check = { update: () => {}, holds: () => false }
    const length = upload.bytes.length
    expect(await handle.append(bodyOf(upload.bytes), 0, { check, length })).toEqual({ offset: 0, end: 'mismatch' })
    expect(handle.pending).toEqual([])
    await expect.poll(() => staged(upload.id)).toEqual([])
    expect(home.staging.heldBytes).toBe(0)
    const key = await upload.finish(await upload.patch(length))
    expect((await recording(key))?.equals(upload.bytes)).toBe(true)
  })

  test('is stored after five seconds where a slow line has brought a MiB, for others to go on with', async () => {
    const upload = new Upload(noise(2 * MIB))
    const handle = upload.at()
    const line = new PassThrough()
    const told = Promise.withResolvers<number>()
    const appended = handle.append(line, 0, { onCheckpoint: async (offset) => told.resolve(offset) })
    line.write(Buffer.from(upload.bytes.subarray(0, MIB + 1)))
    expect(faults.counts).toEqual({})
    expect(await told.promise).toBe(MIB + 1)
    line.end(Buffer.from(upload.bytes.subarray(MIB + 1)))
    expect(await appended).toEqual({ offset: 2 * MIB, end: 'all' })
    upload.commit(handle)
    expect(upload.rows.map(({ position }) => position)).toEqual([0, MIB + 1])
    await handle.discard()
  })

  test('has the hash of an earlier request at hand, unless another instance has gone on since', async () => {
    const upload = new Upload(noise(3 * MIB))
    await upload.patch(MIB)
    expect(upload.at().sizeAtHand()).toBe(MIB)
    await upload.patch(MIB, home.again())
    const here = upload.at()
    expect(here.sizeAtHand()).toBeUndefined()
    expect(await here.sha256(2 * MIB)).toBe(sha256Hex(upload.bytes.subarray(0, 2 * MIB)))
    // The first is still in memory.
    expect(faults.counts.get).toBe(1)
    await here.discard()
  })

  test('of which two writers store the same stretch has the bytes of the one that the table knows', async () => {
    const [first, second] = [noise(MIB), noise(MIB)]
    const upload = new Upload(first)
    const [a, b] = [upload.at(), upload.at(home.again())]
    await a.append(bodyOf(first), 0)
    await b.append(bodyOf(second), 0)
    upload.commit(a)
    expect(await staged(upload.id)).toHaveLength(2)
    expect(await upload.at(home.again()).sha256(MIB)).toBe(sha256Hex(first))
    await upload.at().discard()
    await b.discard()
    expect(await staged(upload.id)).toEqual([])
  })

  test('finds its chunks by their rows, in any order', async () => {
    const chunks = [noise(50_000), noise(60_000), noise(70_000)]
    const upload = new Upload(Buffer.concat(chunks))
    const names = new Map<number, string>()
    for (const index of [2, 0, 1]) {
      names.set(index, await upload.at(home.again()).beside.keep(index, chunks[index] as Buffer))
    }
    let position = 0
    for (const [index, { length }] of chunks.entries()) {
      upload.rows.push({ position, size: length, name: names.get(index) as string })
      position += length
    }
    const whole = upload.at()
    await whole.beside.clear()
    const key = await upload.finish(whole)
    expect((await recording(key))?.equals(upload.bytes)).toBe(true)
    expect(await staged(upload.id)).toEqual([])
  })

  test('shares its memory with all others: where it is full, clients wait, and all arrive', async () => {
    const uploads = Array.from({ length: 16 }, () => new Upload(noise(6 * MIB)))
    const slack = 2 * MIB
    faults.fail(() => ({ delayMs: 300 }))
    let most = 0
    const watch = setInterval(() => {
      most = Math.max(most, home.staging.heldBytes)
    }, 1)
    // As clients that stay: the bodies do not end.
    const lines = uploads.map(() => new PassThrough({ highWaterMark: 64 * 1024 }))
    const appended = uploads.map((upload, i) => upload.at().append(lines[i] as PassThrough, 0))
    for (const [i, { bytes }] of uploads.entries()) bodyOf(bytes).pipe(lines[i] as PassThrough)
    const ends = await Promise.all(appended)
    clearInterval(watch)
    expect(ends.every(({ offset, end }) => offset === 6 * MIB && end === 'all')).toBe(true)
    expect(most).toBeGreaterThan(MEMORY_BYTES / 2)
    expect(most).toBeLessThanOrEqual((MEMORY_BYTES * 3) / 4 + slack)
    expect(home.staging.heldBytes).toBe(0)
  })

  test('is finished beside many others in bounded memory', async () => {
    const uploads = Array.from({ length: 8 }, () => new Upload(noise(5 * MIB)))
    for (const upload of uploads) await upload.patch(3 * MIB, home.again())
    const keys = await Promise.all(uploads.map(async (upload) => upload.finish(await upload.patch(2 * MIB))))
    for (const [i, key] of keys.entries()) {
      expect((await recording(key))?.equals(uploads[i]?.bytes as Buffer)).toBe(true)
    }
    expect(home.staging.heldBytes).toBe(0)
  })
})

/** What every home of bytes on their way must do: one suite, run over each. */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { PassThrough, Readable } from 'node:stream'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { newId } from '../../src/ids.ts'
import type { Library } from '../../src/storage/library.ts'
import type { BodyCheck, Segment, Staged, Staging } from '../../src/storage/staging.ts'
import { listOf } from '../support/lists.ts'
import { noise } from '../support/tus.ts'

export interface StagingHome {
  staging: Staging
  library: Library
  /** The same bytes, with nothing of them in memory. */
  again(): Staging
  close(): Promise<void>
}

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')
const from = (bytes: Uint8Array) => Readable.from([Buffer.from(bytes)], { objectMode: false })
const check = (holds: boolean): BodyCheck => ({ update: () => {}, holds: () => holds })

async function all(pieces: AsyncIterable<Buffer>): Promise<Buffer> {
  const copies: Buffer[] = []
  for await (const piece of pieces) copies.push(Buffer.from(piece))
  return Buffer.concat(copies)
}

async function bytesOf(staged: Staged): Promise<Buffer> {
  const reader = staged.reader()
  try {
    return Buffer.from(await reader.read(0, (await staged.size()) ?? 0))
  } finally {
    await reader.close()
  }
}

/** An upload as its owner has it: the handle, and the segments that the table would have. */
class Owned {
  readonly staged: Staged
  readonly #home: StagingHome
  readonly #segments: Segment[] = []

  constructor(home: StagingHome, id = newId()) {
    this.#home = home
    this.staged = home.staging.of(id)
  }

  /** The offset is committed, and what holds the bytes up to it. */
  commit(): void {
    this.#segments.push(...this.staged.pending)
    this.staged.recorded()
  }

  async append(bytes: Uint8Array, offset: number): Promise<void> {
    const end = offset + bytes.length
    expect(await this.staged.append(from(bytes), offset)).toEqual({ offset: end, end: 'all' })
    this.commit()
  }

  /** The same upload, for an owner that knows what the table has of it. */
  again(): Staged {
    return this.#home.again().of(this.staged.id, this.#segments)
  }
}

export function stagingContract(name: string, make: () => Promise<StagingHome>): void {
  describe(`the staging on ${name}`, () => {
    let home: StagingHome
    let staging: Staging
    beforeAll(async () => {
      home = await make()
      staging = home.staging
    })
    afterAll(() => home.close())

    test('has what was appended, at the offset it was told, also for a handle that begins anew', async () => {
      const [upload, bytes] = [new Owned(home), noise(200_000)]
      const { staged } = upload
      expect(await staged.size()).toBeUndefined()
      await upload.append(bytes.subarray(0, 70_000), 0)
      await upload.append(bytes.subarray(70_000), 70_000)
      expect(staged.sizeAtHand()).toBe(200_000)
      expect(await staged.sha256(200_000)).toBe(sha256(bytes))
      const again = upload.again()
      expect(again.sizeAtHand()).toBeUndefined()
      expect(await bytesOf(again)).toEqual(bytes)
      expect(await again.sha256(200_000)).toBe(sha256(bytes))
      await expect(again.sha256(200_001)).rejects.toThrow()
    })

    test('keeps what had come of a line that dies while it waits to be read', async () => {
      const bodies = Array.from({ length: 20 }, () => ({
        upload: new Owned(home),
        source: new Readable({ read() {} }),
      }))
      const ended = bodies.map(({ upload, source }) => upload.staged.append(source, 0))
      for (let piece = 0; piece < 3; piece++) for (const { source } of bodies) source.push(noise(100_000))
      await nextTurn()
      for (const { source } of bodies) source.destroy()
      for (const { offset, end } of await Promise.all(ended)) expect([offset, end]).toEqual([300_000, 'cut'])
    })

    test('keeps what a dying line and a stopped request have brought', async () => {
      const bytes = noise(100_000)
      for (const end of ['cut', 'stopped'] as const) {
        const upload = new Owned(home)
        const { staged } = upload
        const source = new PassThrough()
        const stop = new AbortController()
        const appended = staged.append(source, 0, { signal: stop.signal })
        source.write(Buffer.from(bytes))
        await expect.poll(() => staged.sizeAtHand()).toBe(bytes.length)
        if (end === 'cut') source.destroy()
        else stop.abort()
        expect(await appended).toEqual({ offset: bytes.length, end })
        upload.commit()
        expect(await bytesOf(upload.again())).toEqual(bytes)
      }
    })

    test('takes no more than may land, and tells that more came', async () => {
      const upload = new Owned(home)
      expect(await upload.staged.append(from(noise(500)), 0, { maxBytes: 400 })).toEqual({
        offset: 400,
        end: 'overrun',
      })
      upload.commit()
      expect(await upload.again().size()).toBe(400)
    })

    test('counts all bytes under a check or none', async () => {
      const [upload, bytes] = [new Owned(home), noise(3_000)]
      const { staged } = upload
      await upload.append(bytes.subarray(0, 1_000), 0)
      const refused = await staged.append(from(noise(600_000)), 1_000, { check: check(false) })
      expect(refused).toMatchObject({ offset: 1_000, end: 'mismatch' })
      expect(staged.pending).toEqual([])
      expect(await staged.append(from(bytes.subarray(1_000)), 1_000, { check: check(true) })).toMatchObject({
        offset: 3_000,
        end: 'all',
      })
      upload.commit()
      expect(await bytesOf(upload.again())).toEqual(bytes)
      expect(await staged.sha256(3_000)).toBe(sha256(bytes))
    })

    test.for(['append', 'write'] as const)(
      '%s: what lies beyond the offset was never acknowledged, and goes',
      async (by) => {
        const [upload, first, last] = [new Owned(home), noise(1_000), noise(500)]
        await upload.append(first, 0)
        // Its process ends before the table learns of these.
        await upload.staged.append(from(noise(2_000)), 1_000)
        const again = upload.again()
        if (by === 'append') await again.append(from(last), 1_000)
        else await again.write(last, 1_000)
        expect(await again.size()).toBe(1_500)
        expect(await bytesOf(again)).toEqual(Buffer.concat([first, last]))
        expect(await again.sha256(1_500)).toBe(sha256(Buffer.concat([first, last])))
      },
    )

    test.for(['append', 'write'] as const)('%s: refuses an offset up to which it has no bytes', async (by) => {
      const upload = new Owned(home)
      const write = (offset: number) =>
        by === 'append' ? upload.again().append(from(noise(10)), offset) : upload.again().write(noise(10), offset)
      await expect(write(5)).rejects.toMatchObject({ code: 'ENOENT' })
      expect(await upload.again().size()).toBeUndefined()
      await upload.append(noise(4), 0)
      await expect(write(5)).rejects.toMatchObject({ code: 'ENOENT' })
      expect(await upload.again().size()).toBe(4)
    })

    test('has bytes that are written one after the other', async () => {
      const [upload, bytes] = [new Owned(home), noise(30_000)]
      for (let at = 0; at < bytes.length; at += 10_000) await upload.staged.write(bytes.subarray(at, at + 10_000), at)
      upload.commit()
      expect(await upload.staged.sha256(bytes.length)).toBe(sha256(bytes))
      expect(await bytesOf(upload.again())).toEqual(bytes)
    })

    test('tells what a commit must record, once', async () => {
      const { staged } = new Owned(home)
      await staged.append(from(noise(1_000)), 0)
      await staged.append(from(noise(500)), 1_000)
      const told = staged.pending.map(({ position, size }) => [position, size])
      expect(told).toEqual(
        staging.segmented
          ? [
              [0, 1_000],
              [1_000, 500],
            ]
          : [],
      )
      staged.recorded()
      expect(staged.pending).toEqual([])
    })

    test('without segments: cuts, hands over and copies, and the hash is that of the bytes', async ({ skip }) => {
      skip(staging.segmented)
      const [first, second] = [noise(5_000), noise(1_500_000)]
      const [a, b, whole] = [staging.of(newId()), staging.of(newId()), staging.of(newId())]
      await a.append(from(first), 0)
      await b.append(from(second), 0)
      await b.truncate(1_400_000)
      await whole.takeFrom(a)
      expect(await a.size()).toBeUndefined()
      expect(a.sizeAtHand()).toBeUndefined()
      await whole.copyFrom(b, 1_400_000, 5_000)
      const joined = Buffer.concat([first, second.subarray(0, 1_400_000)])
      expect(await whole.sha256(joined.length)).toBe(sha256(joined))
      expect(await bytesOf(home.again().of(whole.id))).toEqual(joined)
      await expect(whole.copyFrom(b, 1_400_001, 5_000)).rejects.toThrow()
      await expect(whole.takeFrom(a)).rejects.toMatchObject({ code: 'ENOENT' })
    })

    test('moves an upload into the library, and does so again without harm', async () => {
      const [upload, key, bytes] = [new Owned(home), `lead/${newId()}.wav`, noise(10_000)]
      const { staged } = upload
      await upload.append(bytes, 0)
      await staged.moveTo(key)
      expect(staged.sizeAtHand()).toBeUndefined()
      expect(await home.library.sizeOf(key)).toBe(bytes.length)
      await upload.again().moveTo(key)
      expect(await home.library.sizeOf(key)).toBe(bytes.length)
      await expect(staging.of(newId()).moveTo(`lead/${newId()}.wav`)).rejects.toMatchObject({ code: 'ENOENT' })
    })

    test('moves an upload that came whole in one write, its length known', async () => {
      const [{ staged }, key, bytes] = [new Owned(home), `lead/${newId()}.wav`, noise(10_000)]
      await staged.append(from(bytes), 0, { length: bytes.length })
      expect(await bytesOf(staged)).toEqual(bytes)
      expect(await staged.sha256(bytes.length)).toBe(sha256(bytes))
      await staged.moveTo(key)
      expect(await home.library.sizeOf(key)).toBe(bytes.length)
    })

    test('keeps an upload that came whole and can not move on, once it is synced', async () => {
      const [upload, bytes] = [new Owned(home), noise(10_000)]
      await upload.staged.append(from(bytes), 0, { length: bytes.length })
      await upload.staged.sync()
      upload.commit()
      expect(await bytesOf(upload.again())).toEqual(bytes)
    })

    test('lets go of an upload, whose bytes stay', async () => {
      const [upload, bytes] = [new Owned(home), noise(10_000)]
      await upload.staged.write(bytes, 0)
      upload.commit()
      for (const _ of [1, 2]) upload.staged.forget()
      expect(upload.staged.sizeAtHand()).toBeUndefined()
      expect(await bytesOf(upload.again())).toEqual(bytes)
    })

    test('shows an upload’s bytes to threads as a file of this machine', async () => {
      const [upload, bytes] = [new Owned(home), noise(10_000)]
      await upload.append(bytes, 0)
      const reader = upload.staged.reader()
      expect(await readFile(await reader.file())).toEqual(bytes)
      expect(Buffer.from(await reader.read(9_990, 100))).toEqual(bytes.subarray(9_990))
      await reader.close()
    })

    test('keeps chunks beside an upload', async () => {
      const [{ staged }, chunk] = [new Owned(home), noise(30_000)]
      const { beside } = staged
      const file = await beside.keep(7, chunk)
      const late = { file, position: 0, bytes: chunk.length }
      expect(beside.isWhole(file)).toBe(false)
      expect(await beside.holds(late, chunk)).toBe(true)
      expect(await beside.holds(late, noise(30_000))).toBe(false)
      expect(await all(home.again().of(staged.id).beside.read([late]))).toEqual(chunk)
      await beside.remove(file)
      await beside.remove(file)
      await expect(all(beside.read([late]))).rejects.toMatchObject({ code: 'ENOENT' })
      const other = { file: await beside.keep(8, chunk), position: 0, bytes: chunk.length }
      for (const _ of [1, 2]) await beside.clear()
      await expect(all(beside.read([other]))).rejects.toMatchObject({ code: 'ENOENT' })
    })

    test('without segments: puts chunks together, and makes that the upload’s own', async ({ skip }) => {
      skip(staging.segmented)
      const [upload, first, second] = [new Owned(home), noise(40_000), noise(30_000)]
      const { staged } = upload
      const { beside } = staged
      await upload.append(first, 0)
      const late = { file: await beside.keep(7, second), position: 0, bytes: second.length }
      const own = { file: staged.id, position: 10_000, bytes: 20_000 }
      const expected = Buffer.concat([second, first.subarray(10_000, 30_000)])
      expect(await all(beside.read([late, own]))).toEqual(expected)
      const whole = await beside.compose(Readable.from([late, own]))
      expect([beside.isWhole(whole), beside.isWhole(null)]).toEqual([true, false])
      expect(await beside.become(whole)).toBe(true)
      expect(await beside.become(whole)).toBe(false)
      expect(await bytesOf(upload.again())).toEqual(expected)
    })

    test('has nothing left of what it discards, and does so again without harm', async () => {
      const upload = new Owned(home)
      const { staged } = upload
      await upload.append(noise(100), 0)
      const file = await staged.beside.keep(0, noise(100))
      const again = upload.again()
      for (const _ of [1, 2]) await staged.discard()
      expect(staged.sizeAtHand()).toBeUndefined()
      await expect(again.moveTo(`lead/${newId()}.wav`)).rejects.toMatchObject({ code: 'ENOENT' })
      await expect(all(staged.beside.read([{ file, position: 0, bytes: 100 }]))).rejects.toMatchObject({
        code: 'ENOENT',
      })
    })

    test('tells of all that lies in it, whose it is and how old, and removes it by its name', async () => {
      const upload = new Owned(home)
      const startedAtMs = Date.now()
      await upload.append(noise(700), 0)
      await upload.staged.beside.keep(3, noise(100))
      const entriesOf = async (of: Staging) =>
        (await listOf(of.entries())).filter(({ uploadId }) => uploadId === upload.staged.id)
      const entries = await entriesOf(home.again())
      expect(entries.length).toBeGreaterThanOrEqual(2)
      expect(entries.map(({ bytes }) => bytes)).toContain(700)
      for (const { changedAtMs } of entries) {
        expect(changedAtMs).toBeGreaterThan(startedAtMs - 5_000)
        expect(changedAtMs).toBeLessThan(Date.now() + 5_000)
      }
      for (const _ of [1, 2]) for (const { name } of entries) await staging.remove(name)
      expect(await entriesOf(staging)).toEqual([])
      await expect(bytesOf(upload.again())).rejects.toMatchObject({ code: 'ENOENT' })
    })

    test('removes nothing by a name that it has not given', async () => {
      const [upload, bytes] = [new Owned(home), noise(100)]
      await upload.append(bytes, 0)
      for (const name of ['..', '', `${upload.staged.id}/../..`, 'README']) {
        await expect(staging.remove(name)).rejects.toThrow()
      }
      expect(await bytesOf(upload.again())).toEqual(bytes)
    })

    test('lends a place for a body, which is gone when it is closed', async () => {
      const [name, bytes] = [`${newId()}.body`, noise(1_000)]
      for (const _ of [1, 2]) {
        const scratch = await staging.scratch(name)
        await scratch.write(bytes.subarray(500), 500)
        await scratch.write(bytes.subarray(0, 500), 0)
        const read = Buffer.alloc(1_000)
        await scratch.readInto(read)
        expect(read).toEqual(bytes)
        await expect(scratch.readInto(Buffer.alloc(1_001))).rejects.toThrow()
        await scratch.close()
      }
    })

    test('refuses a name that is no id', () => {
      expect(() => staging.of('../a')).toThrow(expect.objectContaining({ code: 'upload_not_found' }))
    })

    test('tells what it has room for, and takes a probe', async () => {
      const { freeBytes } = await staging.room()
      expect(freeBytes === 'unbounded' || freeBytes > 0).toBe(true)
      await staging.probe()
    })

    test('ends every write once it is stopped, and keeps what came', async () => {
      const stopping = home.again()
      const staged = stopping.of(newId())
      const appended = staged.append(new PassThrough(), 0)
      stopping.stop()
      expect(await appended).toEqual({ offset: 0, end: 'stopped' })
      expect(await staged.append(new PassThrough(), 0)).toEqual({ offset: 0, end: 'stopped' })
    })
  })
}

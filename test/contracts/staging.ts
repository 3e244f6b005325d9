/** What every home of bytes on their way must do: one suite, run over each. */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { PassThrough, Readable } from 'node:stream'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { newId } from '../../src/ids.ts'
import type { Library } from '../../src/storage/library.ts'
import type { BodyCheck, Staging } from '../../src/storage/staging.ts'
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

export function stagingContract(name: string, make: () => Promise<StagingHome>): void {
  describe(`the staging on ${name}`, () => {
    let home: StagingHome
    let staging: Staging
    beforeAll(async () => {
      home = await make()
      staging = home.staging
    })
    afterAll(() => home.close())

    const bytesOf = async (of: Staging, id: string) => {
      const reader = of.reader(id)
      try {
        return Buffer.from(await reader.read(0, (await of.sizeOf(id)) ?? 0))
      } finally {
        await reader.close()
      }
    }

    test('has what was appended, at the offset it was told, also for a process that begins anew', async () => {
      const [id, bytes] = [newId(), noise(200_000)]
      expect(await staging.sizeOf(id)).toBeUndefined()
      expect(await staging.append(from(bytes.subarray(0, 70_000)), id, 0)).toEqual({ offset: 70_000, end: 'all' })
      expect(await staging.append(from(bytes.subarray(70_000)), id, 70_000)).toEqual({ offset: 200_000, end: 'all' })
      expect(staging.sizeAtHand(id)).toBe(200_000)
      expect(await staging.sha256(id, 200_000)).toBe(sha256(bytes))
      const again = home.again()
      expect(again.sizeAtHand(id)).toBeUndefined()
      expect(await bytesOf(again, id)).toEqual(bytes)
      expect(await again.sha256(id, 200_000)).toBe(sha256(bytes))
      await expect(again.sha256(id, 200_001)).rejects.toThrow()
    })

    test('keeps what a dying line and a stopped request have brought', async () => {
      const bytes = noise(100_000)
      for (const end of ['cut', 'stopped'] as const) {
        const id = newId()
        const source = new PassThrough()
        const stop = new AbortController()
        const appended = staging.append(source, id, 0, { signal: stop.signal })
        source.write(Buffer.from(bytes))
        await expect.poll(() => staging.sizeAtHand(id)).toBe(bytes.length)
        if (end === 'cut') source.destroy()
        else stop.abort()
        expect(await appended).toEqual({ offset: bytes.length, end })
        expect(await bytesOf(home.again(), id)).toEqual(bytes)
      }
    })

    test('takes no more than may land, and tells that more came', async () => {
      const id = newId()
      expect(await staging.append(from(noise(500)), id, 0, { maxBytes: 400 })).toEqual({ offset: 400, end: 'overrun' })
      expect(await staging.sizeOf(id)).toBe(400)
    })

    test('counts all bytes under a check or none', async () => {
      const [id, bytes] = [newId(), noise(3_000)]
      await staging.append(from(bytes.subarray(0, 1_000)), id, 0)
      const refused = await staging.append(from(noise(600_000)), id, 1_000, { check: check(false) })
      expect(refused).toMatchObject({ offset: 1_000, end: 'mismatch' })
      expect(await staging.append(from(bytes.subarray(1_000)), id, 1_000, { check: check(true) })).toMatchObject({
        offset: 3_000,
        end: 'all',
      })
      expect(await bytesOf(home.again(), id)).toEqual(bytes)
      expect(await staging.sha256(id, 3_000)).toBe(sha256(bytes))
    })

    test.for(['append', 'place'] as const)(
      '%s: what lies beyond the offset was never acknowledged, and goes',
      async (by) => {
        const [id, first, last] = [newId(), noise(1_000), noise(500)]
        await staging.append(from(Buffer.concat([first, noise(2_000)])), id, 0)
        const again = home.again()
        if (by === 'append') await again.append(from(last), id, 1_000)
        else await again.write(last, id, 1_000)
        expect(await bytesOf(home.again(), id)).toEqual(Buffer.concat([first, last]))
      },
    )

    test.for(['append', 'place'] as const)('%s: refuses an offset up to which it has no bytes', async (by) => {
      const id = newId()
      const write = (offset: number) =>
        by === 'append' ? home.again().append(from(noise(10)), id, offset) : home.again().write(noise(10), id, offset)
      await expect(write(5)).rejects.toMatchObject({ code: 'ENOENT' })
      expect(await staging.sizeOf(id)).toBeUndefined()
      await staging.append(from(noise(4)), id, 0)
      await expect(write(5)).rejects.toMatchObject({ code: 'ENOENT' })
      expect(await staging.sizeOf(id)).toBe(4)
    })

    test('has bytes that are placed one after the other', async () => {
      const [id, bytes] = [newId(), noise(30_000)]
      for (let at = 0; at < bytes.length; at += 10_000) await staging.write(bytes.subarray(at, at + 10_000), id, at)
      expect(await staging.sha256(id, bytes.length)).toBe(sha256(bytes))
      expect(await bytesOf(home.again(), id)).toEqual(bytes)
    })

    test('cuts, hands over and copies, and the hash is that of the bytes', async () => {
      const [first, second] = [noise(5_000), noise(1_500_000)]
      const [a, b, whole] = [newId(), newId(), newId()]
      await staging.append(from(first), a, 0)
      await staging.append(from(second), b, 0)
      await staging.truncate(b, 1_400_000)
      await staging.rename(a, whole)
      expect(await staging.sizeOf(a)).toBeUndefined()
      await staging.copy(b, 1_400_000, whole, 5_000)
      const joined = Buffer.concat([first, second.subarray(0, 1_400_000)])
      expect(await staging.sha256(whole, joined.length)).toBe(sha256(joined))
      expect(await bytesOf(home.again(), whole)).toEqual(joined)
      await expect(staging.copy(b, 1_400_001, whole, 5_000)).rejects.toThrow()
      await expect(staging.rename(a, whole)).rejects.toMatchObject({ code: 'ENOENT' })
    })

    test('moves an upload into the library, and does so again without harm', async () => {
      const [id, key, bytes] = [newId(), `lead/${newId()}.wav`, noise(10_000)]
      await staging.append(from(bytes), id, 0)
      await staging.moveTo(id, key)
      expect(await staging.sizeOf(id)).toBeUndefined()
      expect(staging.sizeAtHand(id)).toBeUndefined()
      await home.again().moveTo(id, key)
      expect(await home.library.sizeOf(key)).toBe(bytes.length)
      await expect(staging.moveTo(newId(), `lead/${newId()}.wav`)).rejects.toMatchObject({ code: 'ENOENT' })
    })

    test('shows an upload’s bytes to threads as a file of this machine', async () => {
      const [id, bytes] = [newId(), noise(10_000)]
      await staging.append(from(bytes), id, 0)
      const reader = staging.reader(id)
      expect(await readFile(await reader.file())).toEqual(bytes)
      expect(Buffer.from(await reader.read(9_990, 100))).toEqual(bytes.subarray(9_990))
      await reader.close()
    })

    test('keeps chunks beside an upload, puts them together, and makes that the upload’s own', async () => {
      const [id, first, second] = [newId(), noise(40_000), noise(30_000)]
      const { beside } = staging
      await staging.append(from(first), id, 0)
      const file = await beside.keep(id, 7, second)
      const late = { file, position: 0, bytes: second.length }
      expect(await beside.holds(late, second)).toBe(true)
      expect(await beside.holds(late, noise(30_000))).toBe(false)
      const own = { file: id, position: 10_000, bytes: 20_000 }
      const expected = Buffer.concat([second, first.subarray(10_000, 30_000)])
      expect(await all(beside.read([late, own]))).toEqual(expected)
      const whole = await beside.compose(id, Readable.from([late, own]))
      expect([beside.isWhole(file), beside.isWhole(whole), beside.isWhole(null)]).toEqual([false, true, false])
      expect(await beside.become(id, whole)).toBe(true)
      expect(await beside.become(id, whole)).toBe(false)
      expect(await bytesOf(home.again(), id)).toEqual(expected)
      await beside.remove(file)
      await beside.remove(file)
      await expect(all(beside.read([late]))).rejects.toMatchObject({ code: 'ENOENT' })
    })

    test('has nothing left of what it discards, and does so again without harm', async () => {
      const id = newId()
      await staging.append(from(noise(100)), id, 0)
      const file = await staging.beside.keep(id, 0, noise(100))
      for (const _ of [1, 2]) await staging.discard(id)
      expect(await staging.sizeOf(id)).toBeUndefined()
      expect(staging.sizeAtHand(id)).toBeUndefined()
      await expect(all(staging.beside.read([{ file, position: 0, bytes: 100 }]))).rejects.toMatchObject({
        code: 'ENOENT',
      })
    })

    test('tells of all that lies in it, whose it is and how old, and removes it by its name', async () => {
      const id = newId()
      const startedAtMs = Date.now()
      await staging.append(from(noise(700)), id, 0)
      await staging.beside.keep(id, 3, noise(100))
      const entriesOf = async (of: Staging) => (await listOf(of.entries())).filter(({ uploadId }) => uploadId === id)
      const entries = await entriesOf(home.again())
      expect(entries.length).toBeGreaterThanOrEqual(2)
      expect(entries.map(({ bytes }) => bytes)).toContain(700)
      for (const { changedAtMs } of entries) {
        expect(changedAtMs).toBeGreaterThan(startedAtMs - 5_000)
        expect(changedAtMs).toBeLessThan(Date.now() + 5_000)
      }
      for (const _ of [1, 2]) for (const { name } of entries) await staging.remove(name)
      expect(await entriesOf(staging)).toEqual([])
      expect(await home.again().sizeOf(id)).toBeUndefined()
    })

    test('removes nothing by a name that it has not given', async () => {
      const id = newId()
      await staging.append(from(noise(100)), id, 0)
      for (const name of ['..', '', `${id}/../..`, 'README']) await expect(staging.remove(name)).rejects.toThrow()
      expect(await staging.sizeOf(id)).toBe(100)
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
      expect(() => staging.reader('../a')).toThrow(expect.objectContaining({ code: 'upload_not_found' }))
    })

    test('tells what it has room for, and takes a probe', async () => {
      const { freeBytes } = await staging.room()
      expect(freeBytes === 'unbounded' || freeBytes > 0).toBe(true)
      await staging.probe()
    })

    test('ends every write once it is stopped, and keeps what came', async () => {
      const id = newId()
      const stopping = home.again()
      const appended = stopping.append(new PassThrough(), id, 0)
      stopping.stop()
      expect(await appended).toEqual({ offset: 0, end: 'stopped' })
      expect(await stopping.append(new PassThrough(), id, 0)).toEqual({ offset: 0, end: 'stopped' })
    })
  })
}

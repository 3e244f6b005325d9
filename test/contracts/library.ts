/** What every home of recordings must do: one suite, run over each. */
import { readFile } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { newId } from '../../src/ids.ts'
import { TruncatedBytes } from '../../src/storage/bytes.ts'
import type { Library } from '../../src/storage/library.ts'
import type { Staging } from '../../src/storage/staging.ts'
import { listOf } from '../support/lists.ts'
import { noise } from '../support/tus.ts'

export interface LibraryHome {
  library: Library
  /** By which bytes arrive. */
  staging: Pick<Staging, 'of'>
  /** Whether what a listener holds can be read on after it was removed. */
  keepsWhatIsHeld: boolean
  close(): Promise<void>
}

/** A piece is valid until the next is asked for. */
async function all(pieces: AsyncIterable<Buffer>): Promise<Buffer> {
  const copies: Buffer[] = []
  for await (const piece of pieces) copies.push(Buffer.from(piece))
  return Buffer.concat(copies)
}

export function libraryContract(name: string, make: () => Promise<LibraryHome>): void {
  describe(`the library on ${name}`, () => {
    let home: LibraryHome
    let library: Library
    beforeAll(async () => {
      home = await make()
      library = home.library
    })
    afterAll(() => home.close())

    async function kept(bytes: Buffer): Promise<string> {
      const [id, key] = [newId(), `lead-${newId()}/${newId()}.wav`]
      const staged = home.staging.of(id)
      await staged.append(Readable.from([Buffer.from(bytes)], { objectMode: false }), 0)
      await staged.moveTo(key)
      return key
    }

    test('gives any range of what lies under a key, in order', async () => {
      const bytes = noise(700_001)
      const held = await library.acquire(await kept(bytes))
      expect(held.size).toBe(bytes.length)
      for (const [start, end] of [
        [0, 0],
        [0, 65_535],
        [65_536, 131_072],
        [0, 700_000],
        [700_000, 700_000],
        [1, 699_999],
      ] as const) {
        expect((await all(held.range(start, end))).equals(bytes.subarray(start, end + 1))).toBe(true)
      }
      held.release()
    })

    test('gives many ranges at once, also where some are left half read', async () => {
      const bytes = noise(2_000_000)
      const key = await kept(bytes)
      const read = async (start: number) => {
        const held = await library.acquire(key)
        let at = start
        for await (const piece of held.range(start, bytes.length - 1)) {
          expect(piece.equals(bytes.subarray(at, at + piece.length))).toBe(true)
          at += piece.length
          if (start % 2 === 1 && at > start + 300_000) break
        }
        held.release()
        return at
      }
      const ends = await Promise.all(Array.from({ length: 40 }, (_, i) => read(i * 1_001)))
      expect(ends.filter((_, i) => (i * 1_001) % 2 === 0).every((end) => end === bytes.length)).toBe(true)
    })

    test('tells of bytes that end before what is asked for', async () => {
      const held = await library.acquire(await kept(noise(1_000)))
      await expect(all(held.range(500, 1_000))).rejects.toBeInstanceOf(TruncatedBytes)
      held.release()
    })

    test('says of a key under which nothing lies that it is not there', async () => {
      const key = `lead/${newId()}.wav`
      expect(await library.sizeOf(key)).toBeUndefined()
      await expect((async () => library.acquire(key))()).rejects.toMatchObject({ code: 'ENOENT' })
      const reader = library.reader(key)
      await expect(reader.read(0, 1)).rejects.toMatchObject({ code: 'ENOENT' })
      await reader.close()
      await library.remove(key)
    })

    test('is looked into here and there, and by threads as a file of this machine', async () => {
      const bytes = noise(10_000)
      const reader = library.reader(await kept(bytes))
      expect(Buffer.from(await reader.read(5_000, 10))).toEqual(bytes.subarray(5_000, 5_010))
      expect(Buffer.from(await reader.read(9_990, 100))).toEqual(bytes.subarray(9_990))
      expect(await readFile(await reader.file())).toEqual(bytes)
      await reader.close()
    })

    test('has nothing left of what it removes, unless somebody holds it', async () => {
      const bytes = noise(100_000)
      const key = await kept(bytes)
      expect(await library.sizeOf(key)).toBe(bytes.length)
      const held = await library.acquire(key)
      for (const _ of [1, 2]) await library.remove(key)
      expect(await library.sizeOf(key)).toBeUndefined()
      await expect((async () => library.acquire(key))()).rejects.toMatchObject({ code: 'ENOENT' })
      const read = all(held.range(0, bytes.length - 1))
      if (home.keepsWhatIsHeld) expect((await read).equals(bytes)).toBe(true)
      else await expect(read).rejects.toMatchObject({ code: 'ENOENT' })
      held.release()
    })

    test('tells of all that lies in it by its key, with its size and its age', async () => {
      const startedAtMs = Date.now()
      const keys = [await kept(noise(100)), await kept(noise(200)), await kept(noise(300))]
      const entries = (await listOf(library.entries())).filter(({ name }) => keys.includes(name))
      expect(entries.map(({ name, bytes }) => [name, bytes]).sort()).toEqual(
        keys.map((key, i) => [key, 100 * (i + 1)]).sort(),
      )
      for (const { changedAtMs } of entries) {
        expect(changedAtMs).toBeGreaterThan(startedAtMs - 5_000)
        expect(changedAtMs).toBeLessThan(Date.now() + 5_000)
      }
      expect(await listOf(library.leftovers())).toEqual([])
    })

    test('takes what lies under a key into the quarantine of a day, and gives that up as a whole', async () => {
      const quarantined = () => listOf(library.quarantined())
      const keys = [await kept(noise(1_000)), await kept(noise(2_000)), await kept(noise(4_000))]
      const [first, second, other] = keys as [string, string, string]
      const [day, dayAfter] = [Date.UTC(2026, 10, 22), Date.UTC(2026, 10, 23)]
      expect(await library.quarantine(first, day + 1)).toContain(first)
      await library.quarantine(second, dayAfter - 1)
      await library.quarantine(other, dayAfter)
      for (const key of keys) {
        expect(await library.sizeOf(key)).toBeUndefined()
        await expect((async () => library.acquire(key))()).rejects.toMatchObject({ code: 'ENOENT' })
      }
      const names = (await listOf(library.entries())).map(({ name }) => name)
      expect(names.filter((name) => keys.some((key) => name.includes(key)))).toEqual([])
      const days = (await quarantined()).sort((a, b) => a.changedAtMs - b.changedAtMs)
      expect(days.map(({ bytes, changedAtMs }) => [bytes, changedAtMs])).toEqual([
        [3_000, dayAfter],
        [4_000, dayAfter + 86_400_000],
      ])
      for (const _ of [1, 2]) await library.discard(days[0]?.name as string)
      expect(await quarantined()).toEqual([days[1]])
      await library.discard(days[1]?.name as string)
      expect(await quarantined()).toEqual([])
      await expect(library.quarantine(first, day)).rejects.toMatchObject({ code: 'ENOENT' })
    })

    test('discards nothing that lies under a key', async () => {
      const key = await kept(noise(100))
      for (const name of [key, key.split('/')[0] as string, '..', '']) {
        await expect(library.discard(name)).rejects.toThrow()
      }
      expect(await library.sizeOf(key)).toBe(100)
    })

    test('refuses a key that leads out of it', async () => {
      await expect((async () => library.acquire('../a'))()).rejects.toThrow(/leaves/)
      await expect((async () => library.sizeOf('lead/../../a'))()).rejects.toThrow(/leaves/)
      await expect(library.quarantine('../a', 0)).rejects.toThrow(/leaves/)
    })

    test('tells what it has room for, and takes a probe', async () => {
      const { freeBytes, volume } = await library.room()
      expect(freeBytes === 'unbounded' || freeBytes > 0).toBe(true)
      expect(volume).toEqual(expect.any(String))
      await library.probe()
    })
  })
}

/**
 * Bytes that wait beside an upload's file, in a folder of their own that goes when the upload does: chunks that came
 * before their place was known, and the whole put together anew.
 *
 * A name is told only when the file and its name are on disk. Knows files; knows nothing of the database or of HTTP.
 */

import { randomBytes } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, open, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import type { Beside, Stretch } from '../staging.ts'
import { syncDirectory } from './durability.ts'

/** As much as is compared at once. */
const PIECE_BYTES = 256 * 1024
const WHOLE = 'whole-'
/** Beyond this many known folders, all are synced once more. */
const MAX_NAMED = 2_000

interface Parts {
  directory: string
  /** Where an upload's own file lies. */
  pathOf(id: string): string
  /** Its folder. */
  besideOf(id: string): string
  forget(id: string): void
}

export function besideOnDisk(staging: Parts): Beside {
  const { directory } = staging
  const pathOf = (name: string) => path.join(directory, name)
  const nameOf = (id: string, name: string) => path.join(path.basename(staging.besideOf(id)), name)

  /** Folders whose names are on disk. */
  const named = new Set<string>()

  async function folderFor(id: string): Promise<string> {
    const folder = staging.besideOf(id)
    const made = await mkdir(folder, { recursive: true, mode: 0o700 })
    // Also where it was there before: who made it may have ended before its name was durable.
    if (made !== undefined || !named.has(folder)) {
      await syncDirectory(directory)
      if (named.size >= MAX_NAMED) named.clear()
      named.add(folder)
    }
    return folder
  }

  async function write(id: string, name: string, source: Iterable<Buffer> | AsyncIterable<Buffer>): Promise<string> {
    const folder = await folderFor(id)
    const file = path.join(folder, `${name}-${randomBytes(6).toString('hex')}`)
    const handle = await open(file, 'wx', 0o600)
    try {
      for await (const bytes of source) await handle.writeFile(bytes)
      await handle.datasync()
    } catch (error) {
      await handle.close()
      await rm(file, { force: true })
      throw error
    }
    await handle.close()
    await syncDirectory(folder)
    return nameOf(id, path.basename(file))
  }

  /** The bytes of the stretches, one after the other. */
  async function* read(stretches: Iterable<Stretch> | AsyncIterable<Stretch>): AsyncGenerator<Buffer> {
    for await (const { file, position, bytes } of stretches) {
      if (bytes === 0) continue
      yield* createReadStream(pathOf(file), {
        start: position,
        end: position + bytes - 1,
        highWaterMark: PIECE_BYTES,
      }) as AsyncIterable<Buffer>
    }
  }

  return {
    read,
    keep: (id: string, index: number, bytes: Buffer) => write(id, String(index), [bytes]),
    compose: (id: string, stretches: AsyncIterable<Stretch>) => write(id, WHOLE.slice(0, -1), read(stretches)),
    isWhole: (name: string | null) => name !== null && path.basename(name).startsWith(WHOLE),

    async become(id: string, name: string): Promise<boolean> {
      staging.forget(id)
      try {
        await rename(pathOf(name), staging.pathOf(id))
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
        // Who renamed it may have ended before that was durable.
        await syncDirectory(directory)
        return false
      }
      await syncDirectory(directory)
      return true
    },

    async holds({ file, position, bytes }: Stretch, expected: Buffer): Promise<boolean> {
      if (bytes !== expected.length) return false
      let at = 0
      for await (const piece of read([{ file, position, bytes }])) {
        if (expected.compare(piece, 0, piece.length, at, at + piece.length) !== 0) return false
        at += piece.length
      }
      return at === bytes
    },

    remove: (name: string) => rm(pathOf(name), { force: true }),
    clear(id: string): Promise<void> {
      named.delete(staging.besideOf(id))
      return rm(staging.besideOf(id), { force: true, recursive: true })
    },
  }
}

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

interface Parts {
  directory: string
  /** Where the upload's own bytes lie. */
  file: string
  /** Where lies what is beside them. */
  folder: string
  /** The upload's own file is replaced. */
  forget(): void
}

export function besideOnDisk({ directory, file: own, folder, forget }: Parts): Beside {
  const pathOf = (name: string) => path.join(directory, name)

  /** Whether the folder's name is on disk. */
  let isNamed = false

  async function makeFolder(): Promise<void> {
    const made = await mkdir(folder, { recursive: true, mode: 0o700 })
    // Also where it was there before: the process that made it may have ended before its name was durable.
    if (made !== undefined || !isNamed) {
      await syncDirectory(directory)
      isNamed = true
    }
  }

  async function write(name: string, source: Iterable<Buffer> | AsyncIterable<Buffer>): Promise<string> {
    await makeFolder()
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
    return path.join(path.basename(folder), path.basename(file))
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
    keep: (index: number, bytes: Buffer) => write(String(index), [bytes]),
    compose: (stretches: AsyncIterable<Stretch>) => write(WHOLE.slice(0, -1), read(stretches)),
    isWhole: (name: string | null) => name !== null && path.basename(name).startsWith(WHOLE),

    async become(name: string): Promise<boolean> {
      forget()
      try {
        await rename(pathOf(name), own)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
        // The process that renamed it may have ended before that was durable.
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
    clear(): Promise<void> {
      isNamed = false
      return rm(folder, { force: true, recursive: true })
    },
  }
}

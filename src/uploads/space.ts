/**
 * Room on the disks: an upload is let in only when it, and all that was promised to the open ones, will fit.
 */
import { stat, statfs } from 'node:fs/promises'
import { passing } from '../errors.ts'

/** A reading of the file systems is good for this long; what was promised meanwhile is known exactly. */
const READING_MS = 500

export interface Space {
  /** Claims room for `bytes` that are to come. @throws ServiceError `insufficient_storage` */
  reserve(bytes: number): Promise<void>
  /** Gives back what has come, or will not come any more. */
  release(bytes: number): void
  /** Bytes promised to open uploads that have not come yet. */
  readonly reservedBytes: number
}

/**
 * @param directories where bytes arrive and where they stay; on one file system or on two
 * @param minFreeBytes what must remain free
 * @param promisedBytes what uploads that are open already may still bring
 */
export async function createSpace(
  directories: readonly string[],
  minFreeBytes: number,
  promisedBytes: number,
): Promise<Space> {
  const devices = await Promise.all(directories.map(async (directory) => (await stat(directory)).dev))
  const distinct = directories.filter((_, i) => devices.indexOf(devices[i] as number) === i)
  let reservedBytes = promisedBytes
  let reading: { freeBytes: number; atMs: number } | undefined

  async function freeBytes(): Promise<number> {
    const now = performance.now()
    if (reading && now - reading.atMs < READING_MS) return reading.freeBytes
    const free = await Promise.all(
      distinct.map(async (directory) => {
        const fs = await statfs(directory)
        return fs.bavail * fs.bsize
      }),
    )
    reading = { freeBytes: Math.min(...free), atMs: now }
    return reading.freeBytes
  }

  return {
    get reservedBytes() {
      return reservedBytes
    },
    async reserve(bytes) {
      const free = await freeBytes()
      if (free - minFreeBytes - reservedBytes < bytes) {
        reading = undefined
        throw passing('insufficient_storage', 'The storage has no room for this upload just now.')
      }
      reservedBytes += bytes
    },
    release(bytes) {
      reservedBytes = Math.max(0, reservedBytes - bytes)
    },
  }
}

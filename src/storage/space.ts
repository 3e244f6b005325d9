/**
 * Room on the disks: an upload is let in only when it, and all that was promised to the open ones, will fit.
 *
 * What is promised is kept for each upload, not as a sum of comings and goings, so that it cannot drift. Where the
 * recordings lie on a file system of their own, an upload needs its whole length there until it is finished.
 */
import { stat, statfs } from 'node:fs/promises'
import { passing } from '../errors.ts'

/** A reading of a file system is good for this long; what came meanwhile is taken off it. */
const READING_MS = 500

/** What an open upload of known length may still bring, and how long it is in all. */
export interface Promised {
  id: string
  length: number
  offset: number
}

export interface Space {
  /** Claims room for an upload. @throws ServiceError `insufficient_storage` */
  reserve(promised: Promised): Promise<void>
  /** The upload stands at `offset` now; nothing for one that has claimed no room. */
  arrived(id: string, offset: number): void
  /** The upload brings nothing more: finished, cancelled, expired, or never begun. */
  release(id: string): void
  /** Bytes promised to open uploads that have not come yet. */
  readonly reservedBytes: number
}

interface Volume {
  directory: string
  promisedBytes: number
  reading: { freeBytes: number; atMs: number } | undefined
}

/**
 * @param minFreeBytes what must remain free
 * @param open what uploads that are open already may still bring
 */
export async function createSpace(
  { uploadsDir, recordingsDir }: { uploadsDir: string; recordingsDir: string },
  minFreeBytes: number,
  open: Iterable<Promised> = [],
): Promise<Space> {
  const [uploadsDevice, recordingsDevice] = await Promise.all(
    [uploadsDir, recordingsDir].map(async (directory) => (await stat(directory)).dev),
  )
  const arriving: Volume = { directory: uploadsDir, promisedBytes: 0, reading: undefined }
  const staying: Volume | undefined =
    uploadsDevice === recordingsDevice ? undefined : { directory: recordingsDir, promisedBytes: 0, reading: undefined }
  const volumes = staying ? [arriving, staying] : [arriving]
  const claims = new Map<string, { left: number; length: number }>()

  function claim({ id, length, offset }: Promised) {
    release(id)
    const left = Math.max(0, length - offset)
    claims.set(id, { left, length })
    arriving.promisedBytes += left
    if (staying) staying.promisedBytes += length
  }

  function release(id: string) {
    const known = claims.get(id)
    if (!known) return
    claims.delete(id)
    arriving.promisedBytes -= known.left
    if (staying) staying.promisedBytes -= known.length
  }

  async function freeBytes(volume: Volume): Promise<number> {
    const now = performance.now()
    if (volume.reading && now - volume.reading.atMs < READING_MS) return volume.reading.freeBytes
    const fs = await statfs(volume.directory)
    volume.reading = { freeBytes: fs.bavail * fs.bsize, atMs: now }
    return volume.reading.freeBytes
  }

  /** Claims the room if it is there; nothing comes between the look and the claim. */
  async function claimed(promised: Promised): Promise<boolean> {
    const free = await Promise.all(volumes.map(freeBytes))
    const fits = volumes.every((volume, i) => {
      const needed = volume === arriving ? promised.length - promised.offset : promised.length
      return (free[i] as number) - volume.promisedBytes - minFreeBytes >= needed
    })
    if (fits) claim(promised)
    return fits
  }

  for (const each of open) claim(each)

  return {
    get reservedBytes() {
      return arriving.promisedBytes
    },
    async reserve(promised) {
      if (await claimed(promised)) return
      for (const volume of volumes) volume.reading = undefined
      if (await claimed(promised)) return
      throw passing('insufficient_storage', 'The storage has no room for this upload just now.')
    },
    arrived(id, offset) {
      const known = claims.get(id)
      if (!known) return
      const left = Math.max(0, known.length - offset)
      const came = known.left - left
      known.left = left
      arriving.promisedBytes -= came
      if (arriving.reading) arriving.reading.freeBytes -= came
    },
    release,
  }
}

/** Bytes of one file written into another, a piece at a time, and hashed on the way. */
import type { Hash } from 'node:crypto'
import { write as fsWrite } from 'node:fs'
import { open } from 'node:fs/promises'
import { promisify } from 'node:util'

const writePart = promisify(fsWrite)

/** Read and written at once. */
const COPY_BYTES = 1024 * 1024

/**
 * Writes the first `size` bytes of `source` into `target` at `position`, where that ends from now on; synced when it
 * resolves.
 *
 * @throws when fewer bytes are there
 */
export async function copyInto(
  target: string,
  position: number,
  source: string,
  size: number,
  hash: Hash | undefined,
): Promise<void> {
  const from = await open(source, 'r')
  const to = await open(target, 'r+').catch(async (error) => {
    await from.close()
    throw error
  })
  try {
    await to.truncate(position)
    const read = async (at: number) => {
      const buffer = Buffer.allocUnsafe(Math.min(COPY_BYTES, size - at))
      const { bytesRead } = await from.read(buffer, 0, buffer.length, at)
      if (bytesRead === 0 && buffer.length > 0) throw new Error(`only ${at} of ${size} bytes are there`)
      return buffer.subarray(0, bytesRead)
    }
    let piece = await read(0)
    for (let at = 0; at < size; ) {
      const written = writeFd(to.fd, piece, position + at)
      const next = read(at + piece.length)
      // While the disk works.
      hash?.update(piece)
      at += piece.length
      ;[, piece] = await Promise.all([written, next])
    }
    await to.datasync()
  } finally {
    await from.close()
    await to.close()
  }
}

/** Writes all of the bytes. @throws ENOSPC also for a disk that takes none and says nothing */
export async function writeFd(fd: number, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await writePart(fd, bytes, done, bytes.length - done, position + done)
    if (bytesWritten === 0) throw Object.assign(new Error('the disk took no bytes'), { code: 'ENOSPC' })
    done += bytesWritten
  }
}

/** Files of a backup, and what is asked of them: their bytes, their sums, and that they are on the disk. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { open, stat, writeFile } from 'node:fs/promises'

export const codeOf = (error: unknown) => (error as NodeJS.ErrnoException).code

export async function syncFile(file: string): Promise<void> {
  const handle = await open(file, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Bytes in the file; undefined when there is none. */
export async function sizeOf(file: string): Promise<number | undefined> {
  try {
    return (await stat(file)).size
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw error
  }
}

export async function writeDurably(file: string, text: string): Promise<void> {
  await writeFile(file, text, { mode: 0o600 })
  await syncFile(file)
}

/** In hex. @param onBytes how many were read, each time */
export async function sha256OfFile(file: string, onBytes: (count: number) => void = () => {}): Promise<string> {
  const hash = createHash('sha256')
  for await (const piece of createReadStream(file, { highWaterMark: 1024 * 1024 })) {
    hash.update(piece)
    onBytes(piece.length)
  }
  return hash.digest('hex')
}

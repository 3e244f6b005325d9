/**
 * A file without a name: it is gone with its handle, so a crash leaves nothing behind.
 */
import { type FileHandle, open, rm } from 'node:fs/promises'
import path from 'node:path'
import type { Scratch } from '../bytes.ts'

export class NamelessFile implements Scratch {
  readonly #handle: FileHandle

  private constructor(handle: FileHandle) {
    this.#handle = handle
  }

  /** @param name what it is called for a moment; one that the sweep knows, should a crash come between */
  static async open(directory: string, name: string): Promise<NamelessFile> {
    const file = path.join(directory, name)
    const handle = await open(file, 'wx+', 0o600)
    await rm(file)
    return new NamelessFile(handle)
  }

  async write(bytes: Buffer, position: number): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      done += (await this.#handle.write(bytes, done, bytes.length - done, position + done)).bytesWritten
    }
  }

  async readInto(buffer: Buffer): Promise<void> {
    for (let read = 0; read < buffer.length; ) {
      const { bytesRead } = await this.#handle.read(buffer, read, buffer.length - read, read)
      if (bytesRead === 0) throw new Error(`only ${read} of ${buffer.length} bytes of a body are there`)
      read += bytesRead
    }
  }

  close(): Promise<void> {
    return this.#handle.close()
  }
}

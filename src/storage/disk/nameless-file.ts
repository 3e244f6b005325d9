/**
 * A file without a name: it is gone with its handle, so a crash leaves nothing behind.
 */
import { type FileHandle, open, rm } from 'node:fs/promises'
import path from 'node:path'
import { newId } from '../../ids.ts'
import type { Scratch } from '../bytes.ts'

export class NamelessFile implements Scratch {
  readonly #handle: FileHandle

  private constructor(handle: FileHandle) {
    this.#handle = handle
  }

  /** @param name what it is called for a moment; one that the sweep knows, should a crash come between */
  static async open(directory: string, name = `${newId()}.body`): Promise<NamelessFile> {
    const file = path.join(directory, name)
    const handle = await open(file, 'wx+', 0o600)
    await rm(file)
    return new NamelessFile(handle)
  }

  /** By which this process can open it once more, while it is open. */
  get path(): string {
    return `/proc/self/fd/${this.#handle.fd}`
  }

  async write(bytes: Buffer, position: number): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      done += (await this.#handle.write(bytes, done, bytes.length - done, position + done)).bytesWritten
    }
  }

  /** Up to `length` bytes from `position`: fewer only at the end. */
  async read(position: number, length: number): Promise<Buffer> {
    const buffer = Buffer.allocUnsafeSlow(length)
    let read = 0
    while (read < length) {
      const { bytesRead } = await this.#handle.read(buffer, read, length - read, position + read)
      if (bytesRead === 0) break
      read += bytesRead
    }
    return buffer.subarray(0, read)
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

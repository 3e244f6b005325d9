/**
 * A body for which memory has no room as it comes: it waits in a file until it is whole, and then for its turn.
 */
import { newId } from '../ids.ts'
import type { Scratch } from '../storage/bytes.ts'
import { giveBack } from '../storage/give-back.ts'
import type { Space } from '../storage/space.ts'
import type { Staging } from '../storage/staging.ts'
import { type Body, type Gathering, tooLong } from './body.ts'
import { type BodyMemory, sizeFor } from './body-memory.ts'

interface Parts {
  staging: Pick<Staging, 'scratch'>
  space: Space
  memory: BodyMemory
}

export class BodyOnDisk implements Gathering {
  // A name that the sweep knows, should a crash come before it is gone.
  readonly #name = `${newId()}.body`
  readonly #parts: Parts
  readonly #maxBytes: number
  readonly #opened: Promise<Scratch>
  #last: Promise<unknown>
  #bytes = 0
  #isEnded = false

  /** @param expectedBytes the room on the disk that it takes from the caller's share */
  constructor(parts: Parts, callerId: string, expectedBytes: number, maxBytes: number) {
    this.#parts = parts
    this.#maxBytes = maxBytes
    this.#opened = this.#open(callerId, expectedBytes)
    this.#last = this.#opened
    // `end` tells of it.
    this.#last.catch(() => {})
  }

  async #open(callerId: string, length: number): Promise<Scratch> {
    const { staging, space } = this.#parts
    await space.reserve({ id: this.#name, callerId, length, offset: 0 })
    return staging.scratch(this.#name)
  }

  async #close(): Promise<void> {
    await this.#last.catch(() => {})
    this.#parts.space.release(this.#name)
    await (await this.#opened.catch(() => undefined))?.close()
  }

  write(piece: Buffer): Promise<void> {
    if (this.#bytes + piece.length > this.#maxBytes) throw tooLong(this.#maxBytes)
    const at = this.#bytes
    this.#bytes += piece.length
    const written = this.#last.then(async () => {
      await (await this.#opened).write(piece, at)
      giveBack(piece)
    })
    this.#last = written
    written.catch(() => {})
    return written
  }

  async end(): Promise<Body> {
    try {
      await this.#last
      const file = await this.#opened
      const { buffer, release } = await this.#parts.memory.readBack(sizeFor(this.#bytes))
      const body = { bytes: buffer.subarray(0, this.#bytes), release }
      try {
        await file.readInto(body.bytes)
      } catch (error) {
        release()
        throw error
      }
      return body
    } finally {
      this.#isEnded = true
      await this.#close()
    }
  }

  abort(): void {
    if (this.#isEnded) return
    this.#isEnded = true
    void this.#close().catch(() => {})
  }
}

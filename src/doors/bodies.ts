/**
 * Bodies that are needed whole before anything can be done with them: a chunk in its JSON or form.
 *
 * What they take of memory together has a limit. As long as it lasts, a body fills one buffer, used again for the next.
 * Beyond it, a body goes to a file without a name until its last byte has come, and then waits its turn: many slow
 * clients keep no fast one waiting, and a crash leaves nothing behind.
 */
import type { Readable } from 'node:stream'
import { giveBack } from '../storage/give-back.ts'
import type { Space } from '../storage/space.ts'
import type { Staging } from '../storage/staging.ts'
import { type Body, type Gathering, tooLong } from './body.ts'
import { BodyMemory, type Share, sizeFor } from './body-memory.ts'
import { BodyOnDisk } from './body-on-disk.ts'
import { pour } from './pour.ts'

/** Up to here a body is in memory in any case. */
const SHORT_BYTES = 64 * 1024

export class Bodies {
  readonly #memory = new BodyMemory()
  readonly #staging: Pick<Staging, 'scratch'>
  readonly #space: Space

  /** @param staging where bodies wait for which memory has no room */
  constructor({ staging, space }: { staging: Pick<Staging, 'scratch'>; space: Space }) {
    this.#staging = staging
    this.#space = space
  }

  /**
   * @param callerId whose share of the disk's room it takes, should it go there
   * @param expectedBytes what will come at most, where that is known
   * @param maxBytes what may come
   */
  gather(callerId: string, expectedBytes: number | undefined, maxBytes: number): Gathering {
    if (expectedBytes === undefined || expectedBytes <= SHORT_BYTES) {
      return perhapsShort(maxBytes, () => this.#onDisk(callerId, maxBytes, maxBytes))
    }
    const size = sizeFor(Math.min(expectedBytes, maxBytes))
    if (this.#memory.canCome(size)) return inMemory(this.#memory.come(size), maxBytes)
    return this.#onDisk(callerId, size, maxBytes)
  }

  /** A request's body, whole. @throws ServiceError `too_large`, or `invalid_request` when the connection dies */
  async read(source: Readable, callerId: string, expectedBytes: number | undefined, maxBytes: number): Promise<Body> {
    if (expectedBytes !== undefined && expectedBytes > maxBytes) throw tooLong(maxBytes)
    const gathering = this.gather(callerId, expectedBytes, maxBytes)
    try {
      await pour(source, (piece) => gathering.write(piece))
      return await gathering.end()
    } catch (error) {
      gathering.abort()
      throw error
    }
  }

  #onDisk(callerId: string, expectedBytes: number, maxBytes: number): Gathering {
    const parts = { staging: this.#staging, space: this.#space, memory: this.#memory }
    return new BodyOnDisk(parts, callerId, expectedBytes, maxBytes)
  }
}

function inMemory({ buffer, release }: Share, maxBytes: number): Gathering {
  let filled = 0
  return {
    write(piece) {
      if (filled + piece.length > Math.min(maxBytes, buffer.length)) throw tooLong(maxBytes)
      filled += piece.copy(buffer, filled)
      giveBack(piece)
      return undefined
    },
    end: () => Promise.resolve({ bytes: buffer.subarray(0, filled), release }),
    abort: release,
  }
}

/** Short, or of unknown length: most of those are short, and need no file. */
function perhapsShort(maxBytes: number, onDisk: () => Gathering): Gathering {
  const pieces: Buffer[] = []
  let bytes = 0
  let long: Gathering | undefined
  return {
    write(piece) {
      if (long) return long.write(piece)
      bytes += piece.length
      if (bytes > maxBytes) throw tooLong(maxBytes)
      pieces.push(piece)
      if (bytes <= SHORT_BYTES) return undefined
      long = onDisk()
      return long.write(Buffer.concat(pieces.splice(0)))
    },
    end: () => long?.end() ?? Promise.resolve({ bytes: Buffer.concat(pieces), release: () => {} }),
    abort: () => long?.abort(),
  }
}

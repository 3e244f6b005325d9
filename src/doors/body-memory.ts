/**
 * The memory that whole bodies take together: bounded, and used again for the next.
 */
import { giveBack } from '../storage/give-back.ts'

/** Bodies that fill memory as they come; a slow client holds its share for as long as it likes. */
const COMING_BYTES = 24 * 1024 * 1024
/** Bodies read back from disk, whole: each is done with shortly, and the next one comes in. */
const READ_BACK_BYTES = 8 * 1024 * 1024
/** Buffers come in multiples of this; what is smaller is not kept. */
const GRAIN_BYTES = 128 * 1024

/** A buffer out of the memory, until it is released; to release it again does nothing. */
export interface Share {
  readonly buffer: Buffer
  release(): void
}

/** The length of the buffer that a body of so many bytes gets. */
export const sizeFor = (bytes: number) => (bytes < GRAIN_BYTES ? bytes : Math.ceil(bytes / GRAIN_BYTES) * GRAIN_BYTES)

const once = (work: () => void) => {
  let done = false
  return () => {
    if (!done) work()
    done = true
  }
}

export class BodyMemory {
  readonly #idle: Buffer[] = []
  readonly #waiting: { bytes: number; grant(): void }[] = []
  #idleBytes = 0
  #comingBytes = 0
  #readBackBytes = 0

  /** Whether there is room for a body that is coming; one that is longer than all there is may come alone. */
  canCome(bytes: number): boolean {
    return this.#comingBytes === 0 || this.#comingBytes + bytes <= COMING_BYTES
  }

  /** Memory for a body that is coming. */
  come(bytes: number): Share {
    const buffer = this.#take(bytes)
    this.#comingBytes += bytes
    const release = once(() => {
      this.#comingBytes -= bytes
      this.#give(buffer)
    })
    return { buffer, release }
  }

  /** Memory for a body that is on disk, in its turn. */
  readBack(bytes: number): Promise<Share> {
    return new Promise((resolve) => {
      const grant = () => {
        this.#readBackBytes += bytes
        const buffer = this.#take(bytes)
        resolve({ buffer, release: once(() => this.#endTurn(buffer)) })
      }
      if (this.#waiting.length === 0 && this.#canReadBack(bytes)) grant()
      else this.#waiting.push({ bytes, grant })
    })
  }

  #canReadBack(bytes: number): boolean {
    return this.#readBackBytes === 0 || this.#readBackBytes + bytes <= READ_BACK_BYTES
  }

  #endTurn(buffer: Buffer): void {
    this.#readBackBytes -= buffer.length
    this.#give(buffer)
    while (this.#waiting[0] && this.#canReadBack(this.#waiting[0].bytes)) this.#waiting.shift()?.grant()
  }

  #take(bytes: number): Buffer {
    const at = this.#idle.findIndex((buffer) => buffer.length === bytes)
    if (at < 0) return Buffer.allocUnsafeSlow(bytes)
    this.#idleBytes -= bytes
    return this.#idle.splice(at, 1)[0] as Buffer
  }

  #give(buffer: Buffer): void {
    if (buffer.length < GRAIN_BYTES) return
    this.#idle.push(buffer)
    this.#idleBytes += buffer.length
    // The oldest go first: sizes that no client sends any more.
    while (this.#idleBytes > 0 && this.#idleBytes + this.#comingBytes + this.#readBackBytes > COMING_BYTES) {
      this.#drop(this.#idle.shift() as Buffer)
    }
  }

  /** Frees the memory now: the collector sees but a small object. */
  #drop(buffer: Buffer): void {
    this.#idleBytes -= buffer.length
    giveBack(buffer)
  }
}

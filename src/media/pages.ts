/**
 * A file read by pages, with bounds on how much of it is looked at. What walks a container here asks for a few bytes at
 * a time; the pages make few reads of that.
 */

/** Reads `length` bytes from `position`; fewer only where the file ends. */
export type ReadBytes = (position: number, length: number) => Promise<Uint8Array>

const PAGE_BYTES = 64 * 1024
/** What is read on and on is read in larger pages. */
const NEXT_PAGE_BYTES = 256 * 1024
const MAX_BYTES = 256 * 1024 * 1024
const MAX_STEPS = 2_000_000

/** The file asks for more work than it is worth; what was found so far may be half the truth. */
export class WorkExceeded extends Error {
  override name = 'WorkExceeded'
}

const MAX_JUNK_IN_A_ROW = 4 * 1024 * 1024
const MAX_JUNK_BYTES = 16 * 1024 * 1024

/** How much between what is sought is looked through, which costs more than what is found. */
export class JunkBounds {
  #inARow = 0
  #bytes = 0

  /**
   * Says whether enough junk stands here that nothing comes any more.
   *
   * @throws WorkExceeded where too much of it lies between what comes
   */
  add(bytes: number): boolean {
    this.#inARow += bytes
    this.#bytes += bytes
    if (this.#bytes > MAX_JUNK_BYTES) throw new WorkExceeded()
    return this.#inARow > MAX_JUNK_IN_A_ROW
  }

  /** Something was found. */
  end(): void {
    this.#inARow = 0
  }
}

export class Pages {
  #size: number
  readonly #read: ReadBytes
  #page: Buffer
  #pageAt = 0
  #bytesLeft = MAX_BYTES
  #stepsLeft = MAX_STEPS
  /** The reader's own failure, which is no property of the file. */
  readFault: { cause: unknown } | undefined

  /** @param head the file's beginning, which needs no reading any more */
  constructor(read: ReadBytes, size: number, head: Uint8Array) {
    this.#read = read
    this.#size = size
    this.#page = asBuffer(head)
  }

  /** In bytes. */
  get size(): number {
    return this.#size
  }

  /**
   * Bytes from `position` on: `length` or more, fewer only where the file ends.
   *
   * @throws WorkExceeded, and what reading throws
   */
  async at(position: number, length: number): Promise<Buffer> {
    if (--this.#stepsLeft < 0) throw new WorkExceeded()
    const inPage = position - this.#pageAt
    const pageEnd = this.#pageAt + this.#page.length
    if (inPage >= 0 && (inPage + length <= this.#page.length || pageEnd >= this.size))
      return this.#page.subarray(inPage)
    if (position >= this.size) return EMPTY
    const isNext = inPage >= 0 && position <= pageEnd + PAGE_BYTES
    const wanted = Math.min(Math.max(length, isNext ? NEXT_PAGE_BYTES : PAGE_BYTES), this.size - position)
    this.#bytesLeft -= wanted
    if (this.#bytesLeft < 0) throw new WorkExceeded()
    try {
      this.#page = asBuffer(await this.#read(position, wanted))
    } catch (cause) {
      this.readFault = { cause }
      throw cause
    }
    this.#pageAt = position
    if (this.#page.length < wanted) this.#size = position + this.#page.length
    return this.#page
  }

  /** Exactly `length` bytes from `position`; `undefined` where the file has no such many. */
  async exactly(position: number, length: number): Promise<Buffer | undefined> {
    const bytes = await this.at(position, length)
    return bytes.length < length ? undefined : bytes.subarray(0, length)
  }
}

const EMPTY = Buffer.alloc(0)

export const asBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)

export const textAt = (bytes: Buffer, at: number, length: number): string => bytes.toString('latin1', at, at + length)

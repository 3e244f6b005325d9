/**
 * Bytes as the stores give them out, wherever they lie. Positions are zero-based; sizes are in bytes.
 */

/**
 * Stored bytes, held for a listener until `release`. If they are removed meanwhile, a home that can keeps them readable;
 * of another, a range that has begun goes on, and the next throws ENOENT.
 */
export interface Bytes {
  readonly size: number
  /**
   * The bytes from `start` to `end`, both included, in order, in pieces of any size. A piece is valid until the next is
   * asked for: its memory is used again. Nothing is read before the first is asked for, so that a fault can still become
   * an answer.
   *
   * @throws TruncatedBytes where they end before `end`, or what reading fails with
   */
  range(start: number, end: number): AsyncIterable<Buffer>
  /** To be called once, after the last range has ended. */
  release(): void
}

/** Stored bytes, looked into here and there. */
export interface BytesReader {
  /** Up to `length` bytes from `position`: fewer only where they end. @throws ENOENT when they are gone */
  read(position: number, length: number): Promise<Uint8Array>
  /**
   * A file of this machine with the same bytes, for threads that read by themselves; there until `close`. A home that
   * is elsewhere makes one.
   */
  file(): Promise<string>
  close(): Promise<void>
}

/** Bytes in a file without a name, gone with its `close`: a crash leaves nothing behind. */
export interface Scratch {
  /** Writes all of the bytes. */
  write(bytes: Buffer, position: number): Promise<void>
  /** Fills the buffer from the beginning. @throws when fewer bytes are there */
  readInto(buffer: Buffer): Promise<void>
  close(): Promise<void>
}

/** What a store still has room for. */
export interface Room {
  /** `unbounded` where the store has no bound: what comes always fits. */
  freeBytes: number | 'unbounded'
  /** Stores of one volume share their room. */
  volume: string
}

/** The bytes end before what was promised. */
export class TruncatedBytes extends Error {
  override name = 'TruncatedBytes'
}

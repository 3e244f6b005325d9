/**
 * The library: where recordings lie for good, each under a key that never changes. The contract that every home keeps;
 * `test/contracts/library.ts` tries it.
 *
 * A key is a relative path, `LEAD/NAME.ext`. Nothing under a key is ever overwritten or half there: bytes arrive whole,
 * from the staging (`moveTo`). Errors of a home keep their `code`; ENOENT says that nothing lies under the key.
 */
import type { Bytes, BytesReader, Room } from './bytes.ts'

export interface Library {
  /**
   * The bytes under a key, for a listener who releases them. Not a promise where they are at hand.
   *
   * @throws ENOENT when nothing lies there
   */
  acquire(key: string): Bytes | Promise<Bytes>
  /** A reader of the bytes under a key; it throws ENOENT when they are asked for and gone. */
  reader(key: string): BytesReader
  /** Bytes under the key; undefined when nothing lies there. */
  sizeOf(key: string): Promise<number | undefined>
  /** Removes what lies under the key, for good when it resolves; its absence is fine. Who holds it may read on. */
  remove(key: string): Promise<void>
  room(): Promise<Room>
  /** Rejects when a write is not taken just now. */
  probe(): Promise<void>
  /** Lets go of what waits for its next listener. */
  close(): void
}

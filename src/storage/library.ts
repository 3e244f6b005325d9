/**
 * The library: where recordings lie for good, each under a key that never changes. The contract that every home keeps;
 * `test/contracts/library.ts` tries it.
 *
 * A key is a relative path, `LEAD/NAME.ext`. Nothing under a key is ever overwritten or half there: bytes arrive whole,
 * from the staging (`moveTo`). Errors of a home keep their `code`; ENOENT says that nothing lies under the key.
 */
import type { Bytes, BytesReader, Room } from './bytes.ts'
import type { Entry } from './entry.ts'

/** What an answer says of the bytes beside their number, in the words of HTTP. */
export interface Described {
  contentType: string
  disposition: string
  cacheControl: string
}

export interface Library {
  /**
   * The bytes under a key, for a listener who releases them. Not a promise where they are at hand.
   *
   * @param size where the caller has just been told it: a home that is elsewhere need not be asked, and ENOENT may then
   *   come with the first range
   * @throws ENOENT when nothing lies there
   */
  acquire(key: string, size?: number): Bytes | Promise<Bytes>
  /**
   * An address under which anybody may read what lies under the key for some seconds, from the home itself. Only of a home
   * that listeners can reach.
   */
  addressOf?(key: string, seconds: number, described: Described): Promise<string>
  /** A reader of the bytes under a key; it throws ENOENT when they are asked for and gone. */
  reader(key: string): BytesReader
  /** Bytes under the key; undefined when nothing lies there. */
  sizeOf(key: string): Promise<number | undefined>
  /** Removes what lies under the key, for good when it resolves; its absence is fine. */
  remove(key: string): Promise<void>

  /**
   * All that lies here but leftovers and what is in quarantine, in any order: what lies under a key has it for a name,
   * other names are not the service's. What goes meanwhile may be left out.
   */
  entries(): AsyncIterable<Entry>
  /** What is here for a moment only, on its way in, or because its process died on the way. */
  leftovers(): AsyncIterable<Entry>
  /**
   * Takes what lies under a key out of the library, durably, into the quarantine of the day. An operator can bring it
   * back from there.
   *
   * @returns where it lies from now on, in the words of an operator
   * @throws ENOENT when nothing lies under the key
   */
  quarantine(key: string, nowMs: number): Promise<string>
  /** The quarantine, a day at a time; each was changed last when it ended. */
  quarantined(): AsyncIterable<Entry>
  /** Removes a leftover or a day of the quarantine by its name; its absence is fine. */
  discard(name: string): Promise<void>

  room(): Promise<Room>
  /** Rejects when a write is not taken just now. */
  probe(): Promise<void>
  /** Lets go of what waits for its next listener. */
  close(): void
}

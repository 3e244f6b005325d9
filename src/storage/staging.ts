/**
 * The staging: bytes on their way, by the id of their upload. The contract that every home keeps;
 * `test/contracts/staging.ts` tries it.
 *
 * What a call has reported is durable. One owner at a time writes an upload. Nothing here says what the bytes are of.
 * Errors of a home keep their `code`, such as ENOSPC. Offsets and sizes are in bytes.
 */
import type { Readable } from 'node:stream'
import type { BytesReader, Room, Scratch } from './bytes.ts'
import type { Entry } from './entry.ts'

/** What the bytes of one write must fulfil to count. */
export interface BodyCheck {
  /** Sees the bytes as they pass, in order. */
  update(bytes: Uint8Array): void
  /** Asked once, when all have come. @throws when that can't be told: the bytes do not count then */
  holds(): boolean
}

export interface WriteOptions {
  /** How many bytes may land; the rest is an overrun. */
  maxBytes?: number
  /** Stops the writing; what came is kept. */
  signal?: AbortSignal
  /** The upload's length where it is known: a file that is whole moves on at once, and its name needs no sync here. */
  length?: number | undefined
  /** All that comes moves on at once when it has come whole; see `length`. */
  movesOn?: boolean | undefined
  /** Called while a long write goes on, each time `offset` bytes are on disk; never where a check may undo them. */
  onCheckpoint?: (offset: number) => Promise<void>
  /** With a check, all bytes count or none does: only those of a source that ended, and that the check holds for. */
  check?: BodyCheck | undefined
}

/** How a write ended. In every case the bytes up to `offset` are on disk. */
export interface Written {
  offset: number
  /**
   * `all`: the source ended; `cut`: the connection died; `stopped`: the signal came; `overrun`: more came than may land;
   * `mismatch`: the source ended, and the check does not hold.
   */
  end: 'all' | 'cut' | 'stopped' | 'overrun' | 'mismatch'
  /** A write that failed part of the way (ENOSPC …). */
  error?: unknown
}

/** A part of an upload's bytes, or of what waits beside them. */
export interface Stretch {
  /** Its name, as `keep` or `compose` gave it; the upload's id for its own bytes. */
  file: string
  position: number
  bytes: number
}

/** A run of an upload's bytes that lies by itself, under a name that is used once. */
export interface Segment {
  position: number
  size: number
  name: string
}

/** Bytes that wait beside an upload's, and go when it goes: chunks that came early, and the whole put together anew. */
export interface Beside {
  /** Stores a chunk; gives its name when it is durable. */
  keep(index: number, bytes: Buffer): Promise<string>
  /** Puts stretches together; gives a name that `isWhole` when it is durable. */
  compose(stretches: AsyncIterable<Stretch>): Promise<string>
  /** Whether the name is of something that `compose` put together. */
  isWhole(name: string | null): boolean
  /** Makes what was put together the upload's own bytes; false when it is so already. Safe to call again. */
  become(name: string): Promise<boolean>
  /** The bytes of the stretches, one after the other. @throws ENOENT when one is gone */
  read(stretches: Iterable<Stretch> | AsyncIterable<Stretch>): AsyncIterable<Buffer>
  /** Whether the stretch has just these bytes. */
  holds(stretch: Stretch, expected: Buffer): Promise<boolean>
  /** Removes one; its absence is fine. */
  remove(name: string): Promise<void>
  /** Removes all that is beside the upload. */
  clear(): Promise<void>
}

/** Something in the staging: an upload's bytes, what is beside them, or what a crash has left of a body or a probe. */
export interface StagedEntry extends Entry {
  /** The upload, or the body, that it is of; undefined for what is there for a moment only, such as a probe. */
  uploadId: string | undefined
}

/**
 * One upload's bytes, and what memory knows of them: running hash, beginning, open file. The handle belongs to the owner
 * of the upload; two of one upload must not write at the same time, and one that did not write knows less, never worse.
 */
export interface Staged {
  readonly id: string
  readonly beside: Beside
  /**
   * What holds bytes that the table does not know yet. It is recorded in the commit that moves the offset over them. None
   * where the home is not segmented.
   */
  readonly pending: readonly Segment[]
  /** The table has what was pending. */
  recorded(): void

  /**
   * Writes what the source brings, from `offset` on. What lay beyond it was never acknowledged, and goes.
   *
   * Ends when the source does, dies, or is stopped; resolves only when the bytes are durable. A segmented home may keep
   * the last bytes of an upload that is whole, by `length` or `movesOn`, in memory until `moveTo` or `sync`.
   *
   * @throws ENOENT when fewer than `offset` bytes are there; errors of opening and syncing. An error of writing comes
   *   with what was stored before it, in the outcome
   */
  append(source: Readable, offset: number, options?: WriteOptions): Promise<Written>
  /**
   * Writes bytes that are in memory at `offset`; resolves when they are durable. They are the caller's again then.
   *
   * @throws as `append`; what has landed lies beyond the offset and is cut off by the next write
   */
  write(bytes: Buffer, offset: number): Promise<void>
  /** Cuts the bytes to exactly `size`, durably; what is missing of them becomes zeros. */
  truncate(size: number): Promise<void>
  /** Makes what was just written durable, also where the write did not. @throws ENOENT */
  sync(): Promise<void>

  /** Bytes; undefined when there are none. */
  size(): Promise<number | undefined>
  /** The same, where all of them have just passed here; undefined when only the store can tell. */
  sizeAtHand(): number | undefined
  /** A reader of the bytes; the beginning comes from memory when it has just passed. */
  reader(): BytesReader
  /**
   * The SHA-256 (hex) of the bytes: as they passed, or where some passed another handle, read once.
   *
   * @throws when fewer than `size` bytes are there
   */
  sha256(size: number): Promise<string>

  /**
   * Moves the bytes into the library, under a key, durably. Safe to call again: what has moved already is left alone. The
   * library is the one that the staging was made with.
   *
   * @throws ENOENT when the bytes are neither here nor under the key
   */
  moveTo(key: string): Promise<void>
  /** Removes the bytes, and what is beside them; their absence is fine. */
  discard(): Promise<void>
  /** Lets go of what memory and the system hold of the upload; the bytes stay. */
  forget(): void

  /**
   * Takes over the bytes of another upload, and has none itself; durable when it resolves. Of a home that is not
   * segmented, as `copyFrom` is.
   *
   * @throws ENOENT
   */
  takeFrom(other: Staged): Promise<void>
  /**
   * Writes the first `size` bytes of another upload at `position`, where the bytes end from now on; durable when it
   * resolves.
   *
   * @throws when fewer bytes are there
   */
  copyFrom(other: Staged, size: number, position: number): Promise<void>
}

export interface Staging {
  /** Whether rows say which segments are an upload's bytes, in which order; false where the store itself says so. */
  readonly segmented: boolean
  /**
   * A handle on an upload's bytes, there or not; it knows nothing of them yet.
   *
   * @param segments as the table has them; none where the home is not segmented
   * @throws ServiceError `upload_not_found` for an id that is none of ours, before it reaches a name
   */
  of(id: string, segments?: readonly Segment[]): Staged

  /** All that lies here, in any order; what the home has not made itself is not told. What goes meanwhile may be left out. */
  entries(): AsyncIterable<StagedEntry>
  /** Removes an entry by its name, and all that is in it; its absence is fine. */
  remove(name: string): Promise<void>

  /** A place for a request's body that memory has no room for. @param name unique; an entry has it after a crash */
  scratch(name: string): Promise<Scratch>
  room(): Promise<Room>
  /** Rejects when a write is not taken just now. */
  probe(): Promise<void>
  /** Ends every writing, and each that begins from now on; what came is kept. */
  stop(): void
}

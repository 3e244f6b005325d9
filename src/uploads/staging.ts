/**
 * Bytes on their way: one file per upload in the uploads directory, on @tus/file-store with a configstore that is the
 * uploads table, so that no sidecar files exist.
 *
 * What the library leaves open is done here: bytes are gathered into large writes at an explicit position, an offset is
 * told only after `fdatasync`, what a dead or displaced connection left is kept, an error keeps its errno, and the
 * SHA-256 is taken while the bytes pass. Knows files and the configstore; knows nothing of the database or of HTTP.
 */

import { createHash, type Hash } from 'node:crypto'
import {
  closeSync,
  constants,
  fdatasync as fsDatasync,
  open as fsOpen,
  fstat as fsStat,
  ftruncate as fsTruncate,
  write as fsWrite,
  writev as fsWritev,
  mkdirSync,
} from 'node:fs'
import { type FileHandle, open, rename, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import type { Readable } from 'node:stream'
import { promisify } from 'node:util'
import { FileStore } from '@tus/file-store'
import type { KvStore, Upload } from '@tus/server'
import { sha256Of } from '../digest.ts'
import { probeDirectory, syncDirectory } from '../durability.ts'
import { ServiceError } from '../errors.ts'
import { isId } from '../ids.ts'
import { GrowingFiles } from './growing-files.ts'

const openFd = promisify(fsOpen)
const datasync = promisify(fsDatasync)
const truncateFd = promisify(fsTruncate)
const statFd = promisify(fsStat)
const writePart = promisify(fsWrite)

/** Bytes gathered before a write is worth its cost. */
const GATHER_BYTES = 512 * 1024
/** Slow bytes wait no longer than this for their write. */
const FLUSH_EVERY_MS = 250
/** A long request makes what it has brought durable this often: what a crash can cost a client. */
const CHECKPOINT_EVERY_MS = 5_000
/** Running hashes and heads kept for uploads between their requests. */
const WARM_UPLOADS = 4_000
/** Read and written at once when one file is copied into another. */
const COPY_BYTES = 1024 * 1024
/** As much of the beginning as telling its media type takes. */
const HEAD_BYTES = 4_100

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

interface WriterOptions extends WriteOptions {
  /** Called before the first bytes of a new file are told of: its name must last too. */
  onFirstCheckpoint: () => Promise<void>
}

interface Warm {
  hash: Hash | undefined
  hashedTo: number
  head: Buffer | undefined
}

export class Staging extends FileStore {
  readonly #warm = new Map<string, Warm>()
  readonly #growing = new GrowingFiles()
  readonly #writers = new Set<Writer>()
  #ticker: NodeJS.Timeout | undefined
  #stopped = false

  constructor(options: { directory: string; configstore: KvStore<Upload> }) {
    mkdirSync(options.directory, { recursive: true, mode: 0o700 })
    super(options)
  }

  /** An upload begins in the configstore alone; its file comes with its first byte. */
  override async create(upload: Upload): Promise<Upload> {
    await this.configstore.set(upload.id, upload)
    return upload
  }

  /** What the table says; a file that is longer holds bytes that were never acknowledged. */
  override async getUpload(id: string): Promise<Upload> {
    return (await this.configstore.get(id)) as Upload
  }

  override async remove(id: string): Promise<void> {
    await this.configstore.delete(id)
  }

  override async write(source: Readable, id: string, offset: number): Promise<number> {
    const written = await this.append(source, id, offset)
    if (written.error) throw written.error
    return written.offset
  }

  /**
   * Writes what the source brings, from `offset` on.
   *
   * Ends when the source does, dies, or is stopped; resolves only when the bytes are on disk.
   *
   * @throws errors of opening and syncing; an error of writing comes with what was stored before it
   */
  async append(source: Readable, id: string, offset: number, options: WriteOptions = {}): Promise<Written> {
    // Only a file that begins is made: a hole where acknowledged bytes were would be a recording of silence.
    const fresh = offset === 0 ? constants.O_CREAT | constants.O_TRUNC : 0
    const fd = await openFd(this.pathOf(id), constants.O_RDWR | fresh, 0o600)
    let warm = this.#warm.get(id)
    try {
      if (!warm || warm.hashedTo !== offset) {
        // Another process wrote here before, or a write failed: what lies beyond the offset was never acknowledged.
        if (!fresh) await cutBack(fd, offset)
        warm = { hash: offset === 0 ? createHash('sha256') : undefined, hashedTo: offset, head: undefined }
      }
      this.#keepWarm(id, warm)
      const before = options.check && { ...warm, hash: warm.hash?.copy() }
      const writer = new Writer(fd, source, offset, warm, {
        ...options,
        onFirstCheckpoint: () => syncDirectory(this.directory),
      })
      this.#track(writer)
      if (this.#stopped) writer.stop()
      const written = await writer.done.finally(() => this.#untrack(writer))
      if (before && (written.end !== 'all' || written.error || !options.check?.holds())) {
        await truncateFd(fd, offset)
        this.#keepWarm(id, before)
        return { offset, end: written.end === 'all' ? 'mismatch' : written.end, error: written.error }
      }
      if (written.offset > offset) await datasync(fd)
      const whole = options.movesOn ? written.end === 'all' : written.offset === options.length
      if (offset === 0 && !whole) await syncDirectory(this.directory)
      return written
    } catch (error) {
      this.#warm.delete(id)
      throw error
    } finally {
      closeSync(fd) // synced before: nothing is left to do that could block
    }
  }

  /**
   * Writes bytes that are in memory at `offset`; resolves when they are on disk. They are the caller's again then.
   *
   * @throws errors of opening and writing; what has landed lies beyond the offset and is cut off by the next write
   */
  async place(bytes: Buffer, id: string, offset: number): Promise<void> {
    try {
      await this.#growing.use(this.pathOf(id), offset === 0, async (fd) => {
        let warm = this.#warm.get(id)
        if (!warm || warm.hashedTo !== offset) {
          await cutBack(fd, offset)
          warm = { hash: offset === 0 ? createHash('sha256') : undefined, hashedTo: offset, head: undefined }
        }
        this.#keepWarm(id, warm)
        const written = writeFd(fd, bytes, offset)
        if (offset === 0) warm.head = Buffer.from(bytes.subarray(0, HEAD_BYTES))
        warm.hash?.update(bytes)
        warm.hashedTo += bytes.length
        await written
      })
      if (offset === 0) await syncDirectory(this.directory)
    } catch (error) {
      this.forget(id)
      throw error
    }
  }

  /**
   * The SHA-256 (hex) of an upload's bytes: as they passed, or where some passed another process, read once.
   *
   * @throws when fewer than `size` bytes are there
   */
  async sha256(id: string, size: number): Promise<string> {
    const warm = this.#warm.get(id)
    if (warm?.hash && warm.hashedTo === size) return warm.hash.copy().digest('hex')
    const reader = this.reader(id)
    try {
      return await sha256Of(reader.read, size)
    } finally {
      await reader.close()
    }
  }

  /** A reader of an upload's bytes; the beginning comes from memory when it has just passed. */
  reader(id: string): { read(position: number, length: number): Promise<Uint8Array>; close(): Promise<void> } {
    const head = this.#warm.get(id)?.head
    let opened: ReturnType<typeof open> | undefined
    return {
      read: async (position, length) => {
        if (head && position + length <= head.length) return head.subarray(position, position + length)
        opened ??= open(this.pathOf(id), 'r')
        const buffer = Buffer.allocUnsafe(length)
        const { bytesRead } = await (await opened).read(buffer, 0, length, position)
        return buffer.subarray(0, bytesRead)
      },
      close: async () => {
        await (await opened?.catch(() => undefined))?.close()
      },
    }
  }

  /** Cuts the file to exactly `size` bytes, on disk; the file is made where it is missing. */
  async truncate(id: string, size: number): Promise<void> {
    this.#warm.delete(id)
    const handle = await open(this.pathOf(id), constants.O_RDWR | constants.O_CREAT, 0o600)
    try {
      await handle.truncate(size)
      await handle.sync()
    } finally {
      await handle.close()
    }
  }

  /** Gives the file of one upload to another, with what memory holds of it; durable when it resolves. */
  async hand(from: string, to: string): Promise<void> {
    await rename(this.pathOf(from), this.pathOf(to))
    await syncDirectory(this.directory)
    const warm = this.#warm.get(from)
    this.#warm.delete(from)
    if (warm) this.#keepWarm(to, warm)
  }

  /**
   * Writes the first `size` bytes of one upload's file into another's, at `position`, where that ends from now on; on
   * disk when it resolves.
   *
   * @throws when fewer bytes are there
   */
  async copy(from: string, size: number, to: string, position: number): Promise<void> {
    const warm = this.#warm.get(to)
    this.#warm.delete(to)
    const source = await open(this.pathOf(from), 'r')
    const target = await open(this.pathOf(to), 'r+').catch(async (error) => {
      await source.close()
      throw error
    })
    try {
      await target.truncate(position)
      const hash = warm?.hashedTo === position ? warm.hash : undefined
      const read = async (at: number) => {
        const buffer = Buffer.allocUnsafe(Math.min(COPY_BYTES, size - at))
        const { bytesRead } = await source.read(buffer, 0, buffer.length, at)
        if (bytesRead === 0 && buffer.length > 0) throw new Error(`only ${at} of ${size} bytes are there`)
        return buffer.subarray(0, bytesRead)
      }
      let piece = await read(0)
      for (let at = 0; at < size; ) {
        const written = writeWhole(target, piece, position + at)
        const next = read(at + piece.length)
        // While the disk works.
        hash?.update(piece)
        at += piece.length
        ;[, piece] = await Promise.all([written, next])
      }
      await target.datasync()
      if (warm && hash) this.#keepWarm(to, { ...warm, hashedTo: position + size })
    } finally {
      await source.close()
      await target.close()
    }
  }

  /** Bytes in the file; undefined when there is none. */
  async sizeOf(id: string): Promise<number | undefined> {
    try {
      return (await stat(this.pathOf(id))).size
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw error
    }
  }

  /** Bytes of the upload's file, where all of them have just passed here; undefined when only the disk can tell. */
  passed(id: string): number | undefined {
    const passed = this.#warm.get(id)?.hashedTo ?? -1
    return passed < 0 ? undefined : passed
  }

  /** Makes a file that was just written, and its name, durable. */
  async sync(id: string): Promise<void> {
    const handle = await open(this.pathOf(id), 'r')
    try {
      await handle.datasync()
    } finally {
      await handle.close()
    }
    await syncDirectory(this.directory)
  }

  /** Removes an upload's bytes; their absence is fine. */
  async discard(id: string): Promise<void> {
    this.forget(id)
    await rm(this.pathOf(id), { force: true })
    await rm(this.besideOf(id), { force: true, recursive: true })
  }

  /** Ends every writing, and each that begins from now on; what came is kept. */
  stop(): void {
    this.#stopped = true
    for (const writer of this.#writers) writer.stop()
  }

  /** Rejects when the directory does not take a write. */
  probe(): Promise<void> {
    return probeDirectory(this.directory)
  }

  /** Drops what memory holds of an upload. */
  forget(id: string): void {
    this.#warm.delete(id)
    this.#growing.forget(this.pathOf(id))
  }

  /** Where an upload's bytes lie. @throws when the id could leave the directory */
  pathOf(id: string): string {
    if (!isId(id)) throw new ServiceError('upload_not_found', 'There is no such upload.')
    return path.join(this.directory, id)
  }

  /** The folder for what waits beside an upload's file; no upload's name, since ids have no dot. */
  besideOf(id: string): string {
    return `${this.pathOf(id)}.beside`
  }

  #keepWarm(id: string, warm: Warm) {
    this.#warm.delete(id)
    this.#warm.set(id, warm)
    if (this.#warm.size > WARM_UPLOADS) {
      for (const oldest of this.#warm.keys()) {
        this.#warm.delete(oldest)
        break
      }
    }
  }

  #track(writer: Writer) {
    this.#writers.add(writer)
    this.#ticker ??= setInterval(() => {
      const now = performance.now()
      for (const each of this.#writers) each.tick(now)
    }, FLUSH_EVERY_MS)
  }

  #untrack(writer: Writer) {
    this.#writers.delete(writer)
    if (this.#writers.size > 0) return
    clearInterval(this.#ticker)
    this.#ticker = undefined
  }
}

/** Writes all of the bytes. @throws ENOSPC also for a disk that takes none and says nothing */
async function writeFd(fd: number, bytes: Buffer, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await writePart(fd, bytes, done, bytes.length - done, position + done)
    if (bytesWritten === 0) throw Object.assign(new Error('the disk took no bytes'), { code: 'ENOSPC' })
    done += bytesWritten
  }
}

/** Moves one source into one open file: a write in flight while the next is gathered. */
class Writer {
  readonly done: Promise<Written>
  readonly #fd: number
  readonly #source: Readable
  readonly #warm: Warm
  readonly #options: WriterOptions
  readonly #maxBytes: number
  #settle!: (written: Written) => void
  #gathered: Buffer[] = []
  #gatheredBytes = 0
  #taken = 0
  #position: number
  #writing = false
  #end: Written['end'] | undefined
  #checkpointAt = performance.now() + CHECKPOINT_EVERY_MS
  #checkpointed: number

  constructor(fd: number, source: Readable, offset: number, warm: Warm, options: WriterOptions) {
    this.#fd = fd
    this.#source = source
    this.#warm = warm
    this.#options = options
    this.#maxBytes = options.maxBytes ?? Number.POSITIVE_INFINITY
    this.#position = offset
    this.#checkpointed = offset
    this.done = new Promise((resolve) => {
      this.#settle = resolve
    })
    if (options.signal?.aborted) this.#finish('stopped')
    else if (source.destroyed) this.#finish(source.readableEnded ? 'all' : 'cut')
    else this.#listen()
  }

  #listen() {
    const source = this.#source
    this.#options.signal?.addEventListener('abort', this.#onAbort, { once: true })
    source.on('end', this.#onEnd)
    source.on('error', this.#onCut)
    source.on('close', this.#onCut)
    source.on('data', this.#onData)
  }

  /** Called now and then: slow bytes are written, a long request is made durable. */
  tick(now: number) {
    if (this.#writing || this.#end || this.#checkpointIfDue(now)) return
    if (this.#gatheredBytes > 0) this.#flush()
  }

  /** Bytes that keep coming are no reason to put it off: it is looked at after each write, too. */
  #checkpointIfDue(now: number): boolean {
    const { onCheckpoint, check } = this.#options
    if (now < this.#checkpointAt || this.#position === this.#checkpointed || !onCheckpoint || check) return false
    void this.#checkpoint(onCheckpoint)
    return true
  }

  #onData = (chunk: Buffer) => {
    const room = this.#maxBytes - this.#taken
    if (chunk.length > room) {
      if (room > 0) this.#take(chunk.subarray(0, room))
      return this.#finish('overrun')
    }
    this.#take(chunk)
    if (this.#gatheredBytes < GATHER_BYTES) return
    if (this.#writing) this.#source.pause()
    else this.#flush()
  }
  #onEnd = () => this.#finish('all')
  #onCut = () => this.#finish('cut')
  stop() {
    this.#onAbort()
  }

  #onAbort = () => this.#finish(this.#source.destroyed ? 'cut' : 'stopped')

  #take(chunk: Buffer) {
    this.#taken += chunk.length
    this.#gathered.push(chunk)
    this.#gatheredBytes += chunk.length
    this.#observe(chunk)
  }

  /** No more is taken; what was gathered is still written. */
  #finish(end: Written['end']) {
    if (this.#end) return
    this.#end = end
    this.#options.signal?.removeEventListener('abort', this.#onAbort)
    this.#source.off('data', this.#onData)
    this.#source.off('end', this.#onEnd)
    this.#source.off('close', this.#onCut)
    // A late error of the source must not go unhandled; the listener that stays does nothing any more.
    if (end !== 'all') this.#source.pause()
    if (!this.#writing) this.#flush()
  }

  #flush() {
    if (this.#gatheredBytes === 0) {
      if (this.#end) this.#settle({ offset: this.#position, end: this.#end })
      return
    }
    const buffers = this.#gathered
    const bytes = this.#gatheredBytes
    this.#gathered = []
    this.#gatheredBytes = 0
    this.#writing = true
    this.#writeAll(buffers, bytes, this.#position)
  }

  #writeAll(buffers: Buffer[], bytes: number, position: number) {
    const written = (error: NodeJS.ErrnoException | null, count: number) => {
      if (error) return this.#fail(error)
      this.#position += count
      if (count === bytes) {
        for (const buffer of buffers) giveBack(buffer)
        return this.#wrote()
      }
      if (count === 0) return this.#fail(Object.assign(new Error('the disk took no bytes'), { code: 'ENOSPC' }))
      this.#writeAll(rest(buffers, count), bytes - count, position + count)
    }
    const only = buffers[0]
    if (buffers.length === 1 && only) fsWrite(this.#fd, only, 0, only.length, position, written)
    else fsWritev(this.#fd, buffers, position, written)
  }

  /** The hash and the head, taken while the chunk is still in the processor's cache. */
  #observe(chunk: Buffer) {
    const warm = this.#warm
    const { head = Buffer.alloc(0), hashedTo } = warm
    if (hashedTo < HEAD_BYTES && head.length === hashedTo) {
      // A copy: a view would keep the socket's whole buffer alive.
      warm.head = Buffer.concat([head, chunk], Math.min(hashedTo + chunk.length, HEAD_BYTES))
    }
    warm.hash?.update(chunk)
    this.#options.check?.update(chunk)
    warm.hashedTo += chunk.length
  }

  #wrote() {
    this.#writing = false
    if (!this.#end && this.#checkpointIfDue(performance.now())) return
    if (this.#end || this.#gatheredBytes >= GATHER_BYTES) this.#flush()
    if (!this.#end && this.#source.isPaused()) this.#source.resume()
  }

  #fail(error: unknown) {
    this.#writing = false
    this.#gathered = []
    this.#gatheredBytes = 0
    // The hash has seen bytes that did not land.
    this.#warm.hash = undefined
    this.#warm.hashedTo = -1
    this.#finish('stopped')
    this.#settle({ offset: this.#position, end: this.#end ?? 'stopped', error })
  }

  async #checkpoint(report: (offset: number) => Promise<void>) {
    this.#writing = true
    const position = this.#position
    try {
      await datasync(this.#fd)
      if (this.#checkpointed === 0) await this.#options.onFirstCheckpoint()
      await report(position)
      this.#checkpointed = position
    } catch {
      // The end of the request tries again, and its outcome is what the client hears.
    }
    this.#checkpointAt = performance.now() + CHECKPOINT_EVERY_MS
    this.#wrote()
  }
}

/** Cuts a file to what was acknowledged of it. @throws ENOENT when not all of that is there */
async function cutBack(fd: number, offset: number): Promise<void> {
  const { size } = await statFd(fd)
  if (size < offset) throw Object.assign(new Error(`only ${size} of ${offset} bytes are there`), { code: 'ENOENT' })
  if (size > offset) await truncateFd(fd, offset)
}

/** A write may take less than it is given. */
async function writeWhole(target: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    at += (await target.write(bytes, at, bytes.length - at, position + at)).bytesWritten
  }
}

/** Smaller buffers are views of a pool that others use too. */
const OWN_MEMORY_BYTES = 16 * 1024

/**
 * Frees a written buffer's memory now. Left to the collector, the 64 KiB buffers of a socket make V8 mark the whole heap
 * every few megabytes received.
 */
export function giveBack(buffer: Buffer): void {
  const memory = buffer.buffer as ArrayBuffer
  if (buffer.length >= OWN_MEMORY_BYTES && memory.byteLength === buffer.length) memory.transfer(0)
}

/** The buffers without their first `count` bytes. */
function rest(buffers: Buffer[], count: number): Buffer[] {
  let left = count
  const result: Buffer[] = []
  for (const buffer of buffers) {
    if (left >= buffer.length) left -= buffer.length
    else {
      result.push(left > 0 ? buffer.subarray(left) : buffer)
      left = 0
    }
  }
  return result
}

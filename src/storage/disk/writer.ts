/**
 * One source on its way into one file: gathered into large writes at an explicit position, hashed while it passes,
 * stored as far as it came when its connection dies or it is stopped.
 */
import type { Hash } from 'node:crypto'
import { fdatasync as fsDatasync, write as fsWrite, writev as fsWritev } from 'node:fs'
import type { Readable } from 'node:stream'
import { promisify } from 'node:util'
import { timed } from '../../timing.ts'
import { giveBack } from '../give-back.ts'
import type { ReadingTurn, ReadingTurns } from '../reading-turns.ts'
import type { WriteOptions, Written } from '../staging.ts'

const datasync = promisify(fsDatasync)

/** Bytes gathered for one write. Clients send chunks of 1 MiB: one of these is one write, and its sync with it. */
const GATHER_BYTES = 1280 * 1024
/** The same once all writers together hold `PLENTY_BYTES`: many uploads at once share the memory. */
const FRUGAL_GATHER_BYTES = 256 * 1024
const PLENTY_BYTES = 32 * 1024 * 1024
/** Bytes of a slow line wait this long for others to be written with. */
const PATIENCE_MS = 150
/** A long request makes what it has brought durable this often: what a crash can cost a client. */
const CHECKPOINT_EVERY_MS = 5_000
/** As much of the beginning as telling its media type takes. */
export const HEAD_BYTES = 4_100

export interface WriterOptions extends WriteOptions {
  /** Bytes that this writer and others hold; each keeps its part of the count. */
  memory: { held: number }
  turns: ReadingTurns
  /**
   * Called once, before the first write.
   *
   * @param isLast all that will come is in this write: it may as well be on disk when it returns (`O_DSYNC`)
   */
  open: (isLast: boolean) => number
  /** Called before the first bytes of a new file are told of: its name must last too. */
  onFirstCheckpoint: () => Promise<void>
}

/** What memory has of an upload's bytes: their running hash, how far it goes, and how they begin. */
export interface Progress {
  hash: Hash | undefined
  hashedTo: number
  head: Buffer | undefined
}

/** Moves one source into one file: a write in flight while the next is gathered. */
export class Writer {
  readonly done: Promise<Written>
  /** Undefined before the first write. */
  #fd: number | undefined
  readonly #source: Readable
  readonly #turn: ReadingTurn
  readonly #progress: Progress
  readonly #options: WriterOptions
  readonly #maxBytes: number
  #settle!: (written: Written) => void
  #gathered: Buffer[] = []
  #gatheredBytes = 0
  #gatheredSinceMs = 0
  #taken = 0
  readonly #start: number
  #position: number
  #writing = false
  #end: Written['end'] | undefined
  #error: unknown
  #checkpointAt = performance.now() + CHECKPOINT_EVERY_MS
  /** Bytes up to here are on disk for good … */
  #synced: number
  /** … and told of. */
  #reported: number
  /** Written, and of no use since a sync failed. */
  #lost = 0

  constructor(source: Readable, offset: number, progress: Progress, options: WriterOptions) {
    this.#source = source
    this.#turn = options.turns.of(source)
    this.#progress = progress
    this.#options = options
    this.#maxBytes = options.maxBytes ?? Number.POSITIVE_INFINITY
    this.#start = offset
    this.#position = offset
    this.#synced = offset
    this.#reported = offset
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
    if (this.#gatheredBytes > 0 && now - this.#gatheredSinceMs >= PATIENCE_MS) this.#flush()
  }

  /** Bytes that keep coming are no reason to put it off: it is looked at after each write, too. */
  #checkpointIfDue(now: number): boolean {
    const { onCheckpoint, check } = this.#options
    if (now < this.#checkpointAt || this.#position === this.#reported || !onCheckpoint || check) return false
    if (this.#fd === undefined) return false
    void this.#checkpoint(this.#fd, onCheckpoint)
    return true
  }

  #onData = (chunk: Buffer) => {
    const room = this.#maxBytes - this.#taken
    if (chunk.length > room) {
      if (room > 0) this.#take(chunk.subarray(0, room))
      return this.#finish('overrun')
    }
    this.#take(chunk)
    this.#turn.took(chunk.length)
    if (!this.#isWorthAWrite()) return
    if (this.#writing) this.#turn.hold()
    else this.#flush()
  }
  #onEnd = () => this.#finish('all')
  #onCut = () => {
    if (this.#end) return
    const rest = this.#turn.rest(this.#onData, this.#maxBytes - this.#taken)
    if (rest) this.#take(rest)
    this.#finish('cut')
  }
  stop() {
    this.#onAbort()
  }

  #onAbort = () => (this.#source.destroyed ? this.#onCut() : this.#finish('stopped'))

  #isWorthAWrite(): boolean {
    return this.#gatheredBytes >= (this.#options.memory.held < PLENTY_BYTES ? GATHER_BYTES : FRUGAL_GATHER_BYTES)
  }

  #take(chunk: Buffer) {
    if (this.#gatheredBytes === 0) this.#gatheredSinceMs = performance.now()
    this.#taken += chunk.length
    this.#gathered.push(chunk)
    this.#gatheredBytes += chunk.length
    this.#options.memory.held += chunk.length
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
    this.#turn.end()
    // A late error of the source must not go unhandled; the listener that stays does nothing any more.
    if (end !== 'all') this.#source.pause()
    if (!this.#writing) this.#flush()
  }

  #flush() {
    if (this.#gatheredBytes === 0) {
      if (this.#end) this.#conclude(this.#end)
      return
    }
    const buffers = this.#gathered
    const bytes = this.#gatheredBytes
    this.#gathered = []
    this.#gatheredBytes = 0
    this.#writing = true
    try {
      this.#writeAll(this.#fd ?? this.#open(bytes), buffers, bytes, this.#position)
    } catch (error) {
      this.#fail(error)
    }
  }

  #open(bytes: number): number {
    const isLast = this.#end !== undefined || this.#position + bytes === this.#options.length
    this.#fd = this.#options.open(isLast)
    return this.#fd
  }

  #conclude(end: Written['end']) {
    this.#options.memory.held -= this.#start + this.#taken - this.#position - this.#lost // what a failed write has dropped
    this.#settle({ offset: this.#position, end, ...(this.#error !== undefined && { error: this.#error }) })
  }

  #writeAll(fd: number, buffers: Buffer[], bytes: number, position: number) {
    const written = (error: NodeJS.ErrnoException | null, count: number) => {
      if (error) return this.#fail(error)
      this.#position += count
      this.#options.memory.held -= count
      if (count === bytes) {
        for (const buffer of buffers) giveBack(buffer)
        return this.#wrote()
      }
      if (count === 0) return this.#fail(Object.assign(new Error('the disk took no bytes'), { code: 'ENOSPC' }))
      this.#writeAll(fd, rest(buffers, count), bytes - count, position + count)
    }
    const only = buffers[0]
    if (buffers.length === 1 && only) fsWrite(fd, only, 0, only.length, position, written)
    else fsWritev(fd, buffers, position, written)
  }

  /** The hash and the head, taken while the chunk is still in the processor's cache. */
  #observe(chunk: Buffer) {
    const progress = this.#progress
    const { head = Buffer.alloc(0), hashedTo } = progress
    if (hashedTo < HEAD_BYTES && head.length === hashedTo) {
      // A copy: a view would keep the socket's whole buffer alive.
      progress.head = Buffer.concat([head, chunk], Math.min(hashedTo + chunk.length, HEAD_BYTES))
    }
    progress.hash?.update(chunk)
    this.#options.check?.update(chunk)
    progress.hashedTo += chunk.length
  }

  #wrote() {
    this.#writing = false
    if (!this.#end && this.#checkpointIfDue(performance.now())) return
    if (this.#end || this.#isWorthAWrite()) this.#flush()
    if (!this.#end) this.#turn.goOn()
  }

  #fail(error: unknown) {
    this.#error = error
    this.#writing = false
    this.#gathered = []
    this.#gatheredBytes = 0
    // The hash has seen bytes that did not land.
    this.#progress.hash = undefined
    this.#progress.hashedTo = -1
    if (this.#end) this.#flush()
    else this.#finish('stopped')
  }

  async #checkpoint(fd: number, report: (offset: number) => Promise<void>) {
    this.#writing = true
    const position = this.#position
    try {
      await timed('sync', () => datasync(fd))
      if (this.#synced === 0) await this.#options.onFirstCheckpoint()
      this.#synced = position
    } catch (error) {
      return this.#failSync(error)
    }
    try {
      await report(position)
      this.#reported = position
    } catch {
      // The bytes are safe. The end of the request tells of them again, and its outcome is what the client hears.
    }
    this.#checkpointAt = performance.now() + CHECKPOINT_EVERY_MS
    this.#wrote()
  }

  /**
   * A sync that failed is not made good by one that succeeds: Linux tells of the lost pages once, and forgets them. So
   * what has come since the last good sync does not count, and the request fails.
   */
  #failSync(error: unknown) {
    this.#lost = this.#position - this.#synced
    this.#position = this.#synced
    this.#fail(error)
  }
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

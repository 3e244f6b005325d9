/**
 * One source on its way into the store: gathered in memory, stored as an object when it ends, is cut or stopped, has
 * waited for long enough, or is large. The store never waits for a client.
 *
 * The last bytes of an upload that is whole are not stored: they go out with its recording.
 */
import type { Hash } from 'node:crypto'
import type { Readable } from 'node:stream'
import { giveBack } from '../give-back.ts'
import type { ReadingTurn, ReadingTurns } from '../reading-turns.ts'
import type { WriteOptions, Written } from '../staging.ts'
import type { BodyPool } from './body-pool.ts'

/** As much is stored at once, and a piece of the socket more. */
const OBJECT_BYTES = 8 * 1024 * 1024
/** What a long request has brought is stored after this time, if it is worth an object. */
const PATIENCE_MS = 5_000
const WORTH_BYTES = 1024 * 1024

export interface GatherOptions extends WriteOptions {
  pool: BodyPool
  turns: ReadingTurns
  /** Of the bytes before; it goes on with those that come. */
  hash: Hash | undefined
  /** Told of bytes that have come and are in memory. */
  onCame: (bytes: number) => void
  /** Stores bytes as a segment, which counts when it resolves. */
  store: (position: number, bytes: Buffer) => Promise<void>
}

export interface Gathered extends Written {
  /** Of what counts up to `offset`; undefined where that is not known. */
  hash: Hash | undefined
  /** What came last, and is in memory alone; counted by the pool. */
  tail: Buffer | undefined
}

export class Gatherer {
  readonly done: Promise<Gathered>
  readonly #source: Readable
  readonly #turn: ReadingTurn
  readonly #options: GatherOptions
  readonly #maxBytes: number
  #settle!: (gathered: Gathered) => void
  #pieces: Buffer[] = []
  #gatheredBytes = 0
  #gatheredSinceMs = 0
  #storingBytes = 0
  /** A segment is being stored, or told of. */
  #busy = false
  #waiting = false
  #taken = 0
  /** What is stored ends here, and so does … */
  #position: number
  /** … this hash. */
  #storedHash: Hash | undefined
  #end: Written['end'] | undefined
  #error: unknown

  constructor(source: Readable, offset: number, options: GatherOptions) {
    this.#source = source
    this.#turn = options.turns.of(source)
    this.#options = options
    this.#maxBytes = options.maxBytes ?? Number.POSITIVE_INFINITY
    this.#position = offset
    this.#storedHash = options.hash?.copy()
    this.done = new Promise((resolve) => {
      this.#settle = resolve
    })
    if (options.signal?.aborted) this.#finish('stopped')
    else if (source.destroyed) this.#finish(source.readableEnded ? 'all' : 'cut')
    else this.#listen()
  }

  /** In memory, and not on the way to the store. */
  get gatheredBytes(): number {
    return this.#gatheredBytes
  }

  get storingBytes(): number {
    return this.#storingBytes
  }

  #listen() {
    const source = this.#source
    this.#options.signal?.addEventListener('abort', this.#onAbort, { once: true })
    source.on('end', this.#onEnd)
    source.on('error', this.#onCut)
    source.on('close', this.#onCut)
    source.on('data', this.#onData)
  }

  /** Called now and then. */
  tick(now: number) {
    if (this.#end || this.#gatheredBytes < WORTH_BYTES || now - this.#gatheredSinceMs < PATIENCE_MS) return
    this.store()
  }

  stop() {
    this.#onAbort()
  }

  /** There is room again. */
  goOn() {
    this.#waiting = false
    this.#flow()
  }

  #onData = (chunk: Buffer) => {
    const room = this.#maxBytes - this.#taken
    if (chunk.length > room) {
      if (room > 0) this.#take(chunk.subarray(0, room))
      return this.#finish('overrun')
    }
    this.#take(chunk)
    this.#turn.took(chunk.length)
    if (this.#gatheredBytes >= OBJECT_BYTES) this.store()
    if (this.#options.pool.isFull && !this.#waiting) {
      this.#waiting = true
      this.#options.pool.wait(this)
    }
    this.#flow()
  }
  #onEnd = () => this.#finish('all')
  #onCut = () => {
    if (this.#end) return
    const rest = this.#turn.rest(this.#onData, this.#maxBytes - this.#taken)
    if (rest) this.#take(rest)
    this.#finish('cut')
  }
  #onAbort = () => (this.#source.destroyed ? this.#onCut() : this.#finish('stopped'))

  #flow() {
    if (this.#end) return
    const mustWait = this.#waiting || this.#gatheredBytes >= OBJECT_BYTES
    if (mustWait) this.#turn.hold()
    else this.#turn.goOn()
  }

  #take(chunk: Buffer) {
    const { pool, hash, check, onCame } = this.#options
    if (this.#gatheredBytes === 0) this.#gatheredSinceMs = performance.now()
    this.#taken += chunk.length
    this.#pieces.push(chunk)
    this.#gatheredBytes += chunk.length
    pool.take(chunk.length)
    // While the chunk is in the processor's cache.
    hash?.update(chunk)
    check?.update(chunk)
    onCame(chunk.length)
  }

  /** No more is taken; what was gathered is stored, unless it is to go out with the recording. */
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
    this.store()
  }

  get #isTail(): boolean {
    const { length, movesOn } = this.#options
    if (this.#end === undefined) return false
    return movesOn ? this.#end === 'all' : this.#position + this.#gatheredBytes === length
  }

  /** Stores what is gathered, now or when what is on its way has arrived. */
  store() {
    if (this.#busy) return
    if (this.#gatheredBytes === 0 || this.#isTail) {
      if (this.#end) this.#conclude(this.#end)
      return
    }
    void this.#storeGathered()
  }

  #gathered(): Buffer {
    const pieces = this.#pieces
    const [only] = pieces
    this.#pieces = []
    this.#gatheredBytes = 0
    if (pieces.length === 1 && only && only.buffer.byteLength === only.length) return only
    const bytes = Buffer.concat(pieces)
    for (const piece of pieces) giveBack(piece)
    return bytes
  }

  async #storeGathered() {
    const { pool, hash, store, onCheckpoint, check } = this.#options
    this.#busy = true
    const bytes = this.#gathered()
    const { length } = bytes
    this.#storingBytes = length
    const hashed = hash?.copy()
    try {
      await store(this.#position, bytes)
      this.#position += length
      this.#storedHash = hashed
      // The bytes are safe. The end of the request tells of them again, and its outcome is what the client hears.
      if (!this.#end && !check) await onCheckpoint?.(this.#position).catch(() => {})
    } catch (error) {
      this.#fail(error)
    }
    this.#storingBytes = 0
    this.#busy = false
    pool.give(length)
    if (this.#end || this.#gatheredBytes >= OBJECT_BYTES) this.store()
    this.#flow()
  }

  /** What was gathered since is of no use: it would leave a hole. */
  #fail(error: unknown) {
    this.#error = error
    const { gatheredBytes } = this
    for (const piece of this.#pieces) giveBack(piece)
    this.#pieces = []
    this.#gatheredBytes = 0
    this.#options.pool.give(gatheredBytes)
    if (!this.#end) this.#finish('stopped')
  }

  #conclude(end: Written['end']) {
    const bytes = this.#gatheredBytes
    this.#settle({
      offset: this.#position + bytes,
      end,
      ...(this.#error !== undefined && { error: this.#error }),
      hash: this.#error === undefined ? this.#options.hash : this.#storedHash,
      tail: bytes > 0 ? this.#gathered() : undefined,
    })
  }
}

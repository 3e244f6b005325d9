/**
 * Which bodies are read: a few at a time, each for a share of bytes, so that a turn of the event loop is short however many
 * uploads come at once.
 *
 * A slow line has no turn to waste: a body that falls silent is listened to without one, and asks for its turn with the
 * next bytes it brings. Turns go round in the order in which they were asked for.
 */
import type { Readable } from 'node:stream'

/** Bodies read at once. */
const AT_ONCE = 8
/** As much of one is read while others wait. */
const SHARE_BYTES = 256 * 1024

/**
 * `listening`: nothing comes, and nothing is owed; `reading`: it has a turn; `waiting`: it has bytes, and waits for its turn;
 * `held`: what it is written to takes no more just now.
 */
type State = 'listening' | 'reading' | 'waiting' | 'held'

export class ReadingTurns {
  readonly #reading = new Set<ReadingTurn>()
  /** In the order of their asking. */
  readonly #waiting = new Set<ReadingTurn>()
  #isWatching = false

  /** @param source whose `data` the caller listens to; it is paused and resumed here alone */
  of(source: Readable): ReadingTurn {
    return new ReadingTurn(this, source)
  }

  get isFull(): boolean {
    return this.#reading.size >= AT_ONCE
  }

  get isWaitedFor(): boolean {
    return this.#waiting.size > 0
  }

  begin(turn: ReadingTurn): void {
    this.#reading.add(turn)
  }

  wait(turn: ReadingTurn): void {
    this.#waiting.add(turn)
    this.#watch()
  }

  /** It has had its share, and goes to the end of the line. */
  yield(turn: ReadingTurn): void {
    this.#reading.delete(turn)
    this.#waiting.add(turn)
    this.#grant()
    this.#watch()
  }

  leave(turn: ReadingTurn): void {
    this.#waiting.delete(turn)
    if (this.#reading.delete(turn)) this.#grant()
  }

  #grant(): void {
    for (const turn of this.#waiting) {
      if (this.isFull) return
      this.#waiting.delete(turn)
      this.#reading.add(turn)
      turn.granted()
    }
  }

  /** While some wait: who has brought nothing in a whole turn of the event loop has no turn any more. */
  #watch(): void {
    if (this.#isWatching || this.#waiting.size === 0) return
    this.#isWatching = true
    setImmediate(() => {
      this.#isWatching = false
      for (const turn of this.#reading) if (turn.isSilent()) this.#reading.delete(turn)
      this.#grant()
      this.#watch()
    })
  }
}

/** One body's. */
export class ReadingTurn {
  readonly #turns: ReadingTurns
  readonly #source: Readable
  #state: State = 'listening'
  #readBytes = 0
  #hasMoved = false

  constructor(turns: ReadingTurns, source: Readable) {
    this.#turns = turns
    this.#source = source
  }

  /** The source has brought bytes, and they have been taken. */
  took(bytes: number): void {
    if (this.#state === 'listening') {
      this.#ask()
      return
    }
    this.#hasMoved = true
    this.#readBytes += bytes
    if (this.#state !== 'reading' || this.#readBytes < SHARE_BYTES || !this.#turns.isWaitedFor) return
    // Itself last in the line, and the line goes on.
    this.#state = 'waiting'
    this.#source.pause()
    this.#turns.yield(this)
  }

  /** No more is taken until `goOn`. */
  hold(): void {
    this.#state = 'held'
    this.#source.pause()
    this.#turns.leave(this)
  }

  goOn(): void {
    if (this.#state !== 'held') return
    if (this.#ask()) this.#source.resume()
  }

  /**
   * What a dead source had brought and waits to be read, as far as there is room for it; undefined where there is none.
   *
   * @param listener of its `data`, which hears nothing more
   * @param room in bytes
   */
  rest(listener: (piece: Buffer) => void, room: number): Buffer | undefined {
    this.#source.off('data', listener)
    // Of one that flows the first piece alone would be read.
    this.#source.pause()
    const bytes: Buffer | undefined = this.#source.read()?.subarray(0, room)
    return bytes && bytes.length > 0 ? bytes : undefined
  }

  /** Nothing is read here any more; the source is left as it is. */
  end(): void {
    this.#state = 'listening'
    this.#turns.leave(this)
  }

  /** Whether its turn is now. */
  #ask(): boolean {
    if (!this.#turns.isFull) {
      this.#begin()
      this.#turns.begin(this)
      return true
    }
    this.#state = 'waiting'
    this.#source.pause()
    this.#turns.wait(this)
    return false
  }

  #begin(): void {
    this.#state = 'reading'
    this.#readBytes = 0
    this.#hasMoved = true
  }

  /** Its turn has come. */
  granted(): void {
    this.#begin()
    this.#source.resume()
  }

  /** Whether nothing has come since this was asked last; then it goes on without its turn. */
  isSilent(): boolean {
    if (this.#hasMoved) {
      this.#hasMoved = false
      return false
    }
    this.#state = 'listening'
    return true
  }
}

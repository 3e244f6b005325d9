/**
 * A stream whose bytes are pushed in from one side, a piece at a time, and read from the other.
 */
import { Readable } from 'node:stream'

const HIGH_WATER_BYTES = 256 * 1024

export class PieceStream extends Readable {
  #resume = () => {}

  constructor() {
    super({ highWaterMark: HIGH_WATER_BYTES })
    // Its reader tells of its end.
    this.on('error', () => {})
  }

  /** Takes the piece; a promise asks for a pause. What comes after the stream was destroyed is dropped. */
  pushPiece(piece: Buffer): Promise<void> | undefined {
    if (this.destroyed || this.push(piece)) return undefined
    return new Promise((resolve) => {
      this.#resume = resolve
    })
  }

  /** The last piece has come. */
  pushEnd(): void {
    this.push(null)
    // An ended stream reads no more.
    this.#resume()
  }

  override _read(): void {
    this.#resume()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#resume()
    done(error)
  }
}

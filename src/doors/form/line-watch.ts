/**
 * Whether a request that others wait for is still alive: it is given up for dead after a while without a byte.
 */

const SILENT_MS = 2_000

export class LineWatch {
  readonly #bytesCome: () => number
  readonly #onSilent: () => void
  #timer: NodeJS.Timeout | undefined
  #isComing = true

  /** @param bytesCome how many bytes the connection has brought */
  constructor(bytesCome: () => number, onSilent: () => void) {
    this.#bytesCome = bytesCome
    this.#onSilent = onSilent
  }

  /** Somebody waits from now on. */
  start(): void {
    if (!this.#isComing) return
    let bytes = this.#bytesCome()
    let sinceMs = performance.now()
    this.#timer ??= setInterval(() => {
      const nowMs = performance.now()
      if (this.#bytesCome() !== bytes) {
        bytes = this.#bytesCome()
        sinceMs = nowMs
      } else if (nowMs - sinceMs > SILENT_MS) {
        this.#onSilent()
      }
    }, SILENT_MS / 8)
  }

  /** The request has come whole, or ended: it is watched no more, and never again. */
  stop(): void {
    this.#isComing = false
    clearInterval(this.#timer)
  }
}

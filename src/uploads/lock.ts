/**
 * The lock of one upload: one at a time works on it.
 *
 * First come, first served; waiters sleep. A request that wants an upload which is held asks its holder to let go: the
 * holder stores what it has and releases, so no request waits for another's dead connection.
 */
import { ServiceError } from '../errors.ts'

/** A request's turn with the upload, which it has or waits for. */
export interface Turn {
  /** Asks it to let go; undefined for one that will be done shortly anyway. */
  readonly cancel: (() => void) | undefined
  grant(): void
}

export class UploadLock {
  #holder: Turn | undefined
  #asked = false
  #isWantedElsewhere = false
  readonly #queue: Turn[] = []
  readonly #onTakeover: () => void

  constructor(onTakeover: () => void) {
    this.#onTakeover = onTakeover
  }

  get isHeld(): boolean {
    return this.#holder !== undefined
  }

  /** True while another request waits, here or at another instance. */
  get isWanted(): boolean {
    return this.#queue.length > 0 || this.#isWantedElsewhere
  }

  /** A request at another instance waits: the holder is asked as for one of ours. */
  wantedElsewhere(): void {
    this.#isWantedElsewhere = true
    this.#ask(this.#holder)
  }

  /**
   * Waits for its turn.
   *
   * @param signal ends the wait
   * @param waitMs how long a request waits before it is told 423
   * @throws ServiceError `upload_locked`
   */
  take(signal: AbortSignal, cancel: (() => void) | undefined, waitMs: number): Promise<Turn> {
    if (!this.#holder) {
      this.#holder = { cancel, grant: () => {} }
      return Promise.resolve(this.#holder)
    }
    return new Promise((resolve, reject) => {
      const leave = () => {
        clearTimeout(timer)
        signal.removeEventListener('abort', gone)
        const at = this.#queue.indexOf(mine)
        if (at >= 0) this.#queue.splice(at, 1)
      }
      const gone = () => {
        leave()
        reject(locked('The request ended while it waited for the upload.'))
      }
      const timer = setTimeout(() => {
        leave()
        reject(locked('Another request is writing to this upload; try again shortly.'))
      }, waitMs)
      const mine: Turn = {
        cancel,
        grant: () => {
          leave()
          resolve(mine)
        },
      }
      if (signal.aborted) return gone()
      signal.addEventListener('abort', gone, { once: true })
      this.#queue.push(mine)
      this.#ask(this.#holder)
    })
  }

  release(turn: Turn): void {
    if (this.#holder !== turn) return
    this.#asked = false
    this.#isWantedElsewhere = false
    this.#holder = this.#queue[0]
    this.#holder?.grant()
    // Those behind it wait for the new holder in turn.
    if (this.isWanted) this.#ask(this.#holder)
  }

  /** Asks the holder, once, to let go. */
  #ask(holder: Turn | undefined): void {
    if (this.#asked || !holder?.cancel) return
    this.#asked = true
    this.#onTakeover()
    holder.cancel()
  }
}

const locked = (sentence: string) => new ServiceError('upload_locked', sentence, { headers: { 'Retry-After': '1' } })

/**
 * One writer at a time for each upload.
 *
 * First come, first served; waiters sleep. A request that wants an upload which is held asks its holder to let go:
 * the holder stores what it has and unlocks, so nobody waits for somebody else's dead connection. All doors take the same
 * locks.
 */
import { ServiceError } from '../errors.ts'

/** A lock that is taken in one place and given back in another. */
export interface Lock {
  /** @throws ServiceError `upload_locked` when it can't be had in time; @param onWanted asks the holder to let go */
  lock(signal: AbortSignal, onWanted: () => void): Promise<void>
  unlock(): Promise<void>
}

interface Waiter {
  /** Undefined for a holder that will be done shortly anyway. */
  cancel: (() => void) | undefined
  grant(): void
}
interface Held {
  holder: Waiter
  asked: boolean
  queue: Waiter[]
}

export class UploadLocker {
  readonly #held = new Map<string, Held>()
  readonly #waitMs: number
  readonly #onTakeover: (id: string) => void

  /** @param waitMs how long a request waits for its turn before it is told 423 */
  constructor({ waitMs = 5_000, onTakeover = () => {} }: { waitMs?: number; onTakeover?: (id: string) => void } = {}) {
    this.#waitMs = waitMs
    this.#onTakeover = onTakeover
  }

  newLock(id: string): Lock {
    let mine: Waiter | undefined
    return {
      lock: async (signal, onWanted) => {
        mine = await this.#take(id, signal, onWanted)
      },
      unlock: async () => {
        if (mine) this.#release(id, mine)
        mine = undefined
      },
    }
  }

  /** True while another request waits for the upload. */
  isWanted(id: string): boolean {
    return (this.#held.get(id)?.queue.length ?? 0) > 0
  }

  /**
   * Runs `work`, which is short, while holding the upload's lock: whoever comes waits.
   *
   * @throws ServiceError `upload_locked` when the lock can't be had in time
   */
  async holdShortly<T>(id: string, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const mine = await this.#take(id, signal, undefined)
    try {
      return await work()
    } finally {
      this.#release(id, mine)
    }
  }

  /**
   * Runs `work` while holding the upload's lock.
   *
   * @param work gets a signal that aborts when another request wants the upload
   * @throws ServiceError `upload_locked` when the lock can't be had in time
   */
  async hold<T>(id: string, signal: AbortSignal, work: (asked: AbortSignal) => Promise<T>): Promise<T> {
    const asked = new AbortController()
    const mine = await this.#take(id, signal, () => asked.abort())
    try {
      return await work(asked.signal)
    } finally {
      this.#release(id, mine)
    }
  }

  #take(id: string, signal: AbortSignal, cancel: (() => void) | undefined): Promise<Waiter> {
    const held = this.#held.get(id)
    if (!held) {
      const mine = { cancel, grant: () => {} }
      this.#held.set(id, { holder: mine, asked: false, queue: [] })
      return Promise.resolve(mine)
    }
    return new Promise((resolve, reject) => {
      const leave = () => {
        clearTimeout(timer)
        signal.removeEventListener('abort', gone)
        const at = held.queue.indexOf(mine)
        if (at >= 0) held.queue.splice(at, 1)
      }
      const gone = () => {
        leave()
        reject(locked('The request ended while it waited for the upload.'))
      }
      const timer = setTimeout(() => {
        leave()
        reject(locked('Another request is writing to this upload; try again shortly.'))
      }, this.#waitMs)
      const mine: Waiter = {
        cancel,
        grant: () => {
          leave()
          resolve(mine)
        },
      }
      if (signal.aborted) return gone()
      signal.addEventListener('abort', gone, { once: true })
      held.queue.push(mine)
      this.#ask(id, held)
    })
  }

  /** Asks the holder, once, to let go. */
  #ask(id: string, held: Held) {
    if (held.asked || !held.holder.cancel) return
    held.asked = true
    this.#onTakeover(id)
    held.holder.cancel()
  }

  #release(id: string, mine: Waiter) {
    const held = this.#held.get(id)
    if (held?.holder !== mine) return
    const next = held.queue[0]
    if (!next) {
      this.#held.delete(id)
      return
    }
    held.holder = next
    held.asked = false
    next.grant()
    // Those behind it wait for the new holder in turn.
    if (held.queue.length > 0) this.#ask(id, held)
  }
}

const locked = (sentence: string) => new ServiceError('upload_locked', sentence, { headers: { 'Retry-After': '1' } })

/**
 * How many requests begin in one turn of the event loop: a few, so that a turn is short however many have come at once, and
 * what is quick is not kept waiting by what takes longer.
 *
 * Requests that only read are quick and begin at once. The others wait in the order in which they came. A turn in which
 * a connection was taken begins none: the system hands out one connection a turn, and a hundred that have come at once
 * would each wait for the work of those before it.
 */

/** Begun in one turn. */
const IN_ONE_TURN = 4
/** For so long turns are left to new connections: a flood of them does not keep requests from beginning. */
const LEFT_TO_CONNECTIONS_MS = 500

/** No HEAD: of an upload it may finish it, and it comes after what its client has sent before. */
const QUICK: ReadonlySet<string | undefined> = new Set(['GET', 'OPTIONS'])

export class Admission {
  readonly #waiting: (() => void)[] = []
  #begun = 0
  #hasTakenConnection = false
  #leftSinceMs: number | undefined
  #isPumping = false

  /** A connection was taken. */
  connected(): void {
    this.#hasTakenConnection = true
    this.#pump()
  }

  /** Begins the request, now or in one of the next turns. */
  admit(method: string | undefined, begin: () => void): void {
    if (QUICK.has(method)) {
      begin()
      return
    }
    this.#pump()
    if (this.#waiting.length > 0 || this.#begun >= IN_ONE_TURN || this.#isLeftToConnections()) {
      this.#waiting.push(begin)
      return
    }
    this.#begun += 1
    begin()
  }

  #isLeftToConnections(): boolean {
    if (!this.#hasTakenConnection) return false
    this.#leftSinceMs ??= performance.now()
    return performance.now() - this.#leftSinceMs < LEFT_TO_CONNECTIONS_MS
  }

  /** At the end of each turn, as long as there is something to count. */
  #pump(): void {
    if (this.#isPumping) return
    this.#isPumping = true
    setImmediate(() => {
      this.#isPumping = false
      const isLeft = this.#isLeftToConnections()
      if (!this.#hasTakenConnection) this.#leftSinceMs = undefined
      this.#hasTakenConnection = false
      this.#begun = 0
      if (isLeft) return this.#pump()
      for (const begin of this.#waiting.splice(0, IN_ONE_TURN)) {
        this.#begun += 1
        begin()
      }
      if (this.#begun > 0) this.#pump()
    })
  }
}

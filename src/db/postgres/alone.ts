/**
 * Turns: of this process' transactions that look at the same thing alone, one at a time is sent. The others would wait for
 * PostgreSQL's lock, each with a connection that everybody else needs.
 */
export class Turns {
  readonly #last = new Map<string, Promise<unknown>>()

  /** @param what an empty one is waited for by nobody */
  async take<T>(what: string, work: () => Promise<T>): Promise<T> {
    if (what === '') return work()
    const before = this.#last.get(what)
    const turn = before === undefined ? work() : before.then(work, work)
    this.#last.set(what, turn)
    try {
      return await turn
    } finally {
      if (this.#last.get(what) === turn) this.#last.delete(what)
    }
  }
}

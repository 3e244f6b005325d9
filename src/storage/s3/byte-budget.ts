/** Memory that is shared: what would exceed it waits in a line, and nothing overtakes. */

export class ByteBudget {
  readonly #limit: number
  #left: number
  readonly #waiting: { bytes: number; go: () => void }[] = []

  constructor(limit: number) {
    this.#limit = limit
    this.#left = limit
  }

  /**
   * Resolves once there is room for so many bytes; they are taken then, until the function that it gives is called. More
   * than there is in all counts as all.
   */
  async take(wanted: number): Promise<() => void> {
    const bytes = Math.min(wanted, this.#limit)
    if (this.#waiting.length > 0 || this.#left < bytes) {
      await new Promise<void>((go) => this.#waiting.push({ bytes, go }))
    } else this.#left -= bytes
    let taken = true
    return () => {
      if (!taken) return
      taken = false
      this.#left += bytes
      this.#next()
    }
  }

  #next(): void {
    for (let [first] = this.#waiting; first && first.bytes <= this.#left; [first] = this.#waiting) {
      this.#waiting.shift()
      this.#left -= first.bytes
      first.go()
    }
  }
}

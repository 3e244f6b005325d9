/**
 * Segments that were stored or read just now, by their name, which is used once: a finish at the same instance need not
 * ask the store for them. What was not used for longest goes first.
 */
import { giveBack } from '../give-back.ts'

export class RecentBytes {
  readonly #kept = new Map<string, Buffer>()
  #bytes = 0

  /** Held now, in bytes. */
  get held(): number {
    return this.#bytes
  }

  add(name: string, bytes: Buffer): void {
    this.#drop(name)
    this.#kept.set(name, bytes)
    this.#bytes += bytes.length
  }

  get(name: string): Buffer | undefined {
    const bytes = this.#kept.get(name)
    if (!bytes) return undefined
    this.#kept.delete(name)
    this.#kept.set(name, bytes)
    return bytes
  }

  /** Until no more than this is held. A reader may still be at what goes: its memory is left to the collector. */
  shrinkTo(bytes: number): void {
    for (const name of this.#kept.keys()) {
      if (this.#bytes <= bytes) return
      this.#drop(name)
    }
  }

  /** Nobody reads it any more. */
  discard(name: string): void {
    const bytes = this.#drop(name)
    if (bytes) giveBack(bytes)
  }

  #drop(name: string): Buffer | undefined {
    const bytes = this.#kept.get(name)
    if (!bytes) return undefined
    this.#kept.delete(name)
    this.#bytes -= bytes.length
    return bytes
  }
}

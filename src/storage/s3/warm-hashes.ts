/**
 * Running SHA-256s of uploads between their requests. Each is of certain segments, whose names are used once: where the
 * table has others, another instance has gone on, and the hash is of no use.
 */
import type { Hash } from 'node:crypto'
import type { Segment } from '../staging.ts'

const REMEMBERED_UPLOADS = 4_000

export class WarmHashes {
  readonly #kept = new Map<string, { names: readonly string[]; hash: Hash }>()

  /** Of just these segments, to go on with; undefined where it is not known. */
  of(id: string, segments: readonly Segment[]): Hash | undefined {
    const kept = this.#kept.get(id)
    if (kept?.names.length !== segments.length) return undefined
    return segments.every(({ name }, i) => name === kept.names[i]) ? kept.hash.copy() : undefined
  }

  keep(id: string, segments: readonly Segment[], hash: Hash): void {
    this.#kept.delete(id)
    this.#kept.set(id, { names: segments.map(({ name }) => name), hash: hash.copy() })
    if (this.#kept.size <= REMEMBERED_UPLOADS) return
    for (const oldest of this.#kept.keys()) {
      this.#kept.delete(oldest)
      break
    }
  }

  forget(id: string): void {
    this.#kept.delete(id)
  }
}

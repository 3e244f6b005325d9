/**
 * Uploads of forms whose request is gone: such an upload lives as long as its one request, which holds it meanwhile.
 *
 * A process that has its database alone knows them at its start: all that are open then. Where instances share the
 * database, those are left that no living instance holds. One that lost its session a moment ago looks dead for as long as
 * it takes to make another: so an upload must look left at two looks, with a while between them.
 */
import type { Claims } from '../db/claims.ts'
import type { Reading } from '../db/database.ts'
import { openForms } from '../db/uploads-swept.ts'

const LOOK_EVERY_MS = 10_000

interface Parts {
  db: Reading
  claims: Claims
  /** Whether other instances have forms of their own. */
  isShared: boolean
}

export class LeftForms {
  readonly #parts: Parts
  #atStart: string[]
  #suspected: ReadonlySet<string> = new Set()
  #lookedAtMs = Number.NEGATIVE_INFINITY

  private constructor(parts: Parts, atStart: string[]) {
    this.#parts = parts
    this.#atStart = atStart
  }

  /** To be called before the first request. */
  static async open(parts: Parts): Promise<LeftForms> {
    return new LeftForms(parts, parts.isShared ? [] : await openForms(parts.db))
  }

  /** Those that have not been told of yet, or have not been ended since. */
  async take(): Promise<string[]> {
    if (this.#parts.isShared) return this.#look()
    const left = this.#atStart
    this.#atStart = []
    return left
  }

  async #look(): Promise<string[]> {
    const { db, claims } = this.#parts
    if (performance.now() - this.#lookedAtMs < LOOK_EVERY_MS) return []
    this.#lookedAtMs = performance.now()
    const unheld = new Set<string>()
    for (const id of await openForms(db)) if (!(await claims.isHeld(id))) unheld.add(id)
    const left = [...unheld].filter((id) => this.#suspected.has(id))
    this.#suspected = unheld
    return left
  }
}

/**
 * The role of a caller today: the one in the newest token that was seen of theirs.
 *
 * Whose role it is knows the CRM alone, and says it in tokens; so a playback link, which lives on without one, is asked
 * about with this. In memory only: a restart forgets, and then the link's own word counts again, for as long as it lives.
 */
import type { Caller, Role } from '../leads/rights.ts'

const MAX_CALLERS = 10_000

export class NewestRoles {
  readonly #byCaller = new Map<string, { role: Role; asOfSeconds: number }>()

  /** @param asOfSeconds when the token was issued */
  saw({ id, role }: Caller, asOfSeconds: number): void {
    const known = this.#byCaller.get(id)
    if (known && known.asOfSeconds > asOfSeconds) return
    // Those that were seen last go last.
    this.#byCaller.delete(id)
    this.#byCaller.set(id, { role, asOfSeconds })
    if (this.#byCaller.size <= MAX_CALLERS) return
    for (const oldest of this.#byCaller.keys()) {
      this.#byCaller.delete(oldest)
      return
    }
  }

  of(callerId: string): Role | undefined {
    return this.#byCaller.get(callerId)?.role
  }
}

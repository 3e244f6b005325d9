/**
 * The whole of one upload, gathered when it is first needed and lent to all who do: inspection, hash and the last PUT of a
 * finish come one after the other.
 */
import type { ByteBudget } from './byte-budget.ts'
import { gather, type Made, type Parts, SMALL_BYTES, type Whole } from './whole.ts'

/** A file that was gathered is kept so long for the next step. */
const IDLE_MS = 60_000
/** A large upload is gathered piece by piece. */
const LARGE_BYTES = 8 * 1024 * 1024

export interface Lender {
  parts: Parts
  /** The memory of all that is lent. */
  budget: ByteBudget
}

export interface Lent {
  whole: Whole
  /** To be called once. */
  giveBack(): void
}

interface Gathering {
  whole: Promise<Whole>
  borrowers: number
  isLarge: boolean
  /** Ends its claim on memory. */
  release: () => void
}

export class LentWhole {
  readonly #lender: Lender
  #gathering: Gathering | undefined
  #idle: NodeJS.Timeout | undefined

  constructor(lender: Lender) {
    this.#lender = lender
  }

  /** @throws ENOENT when a segment is gone; what reading fails with */
  async lend(made: Made): Promise<Lent> {
    clearTimeout(this.#idle)
    this.#gathering ??= this.#gather(made)
    const gathering = this.#gathering
    gathering.borrowers += 1
    const giveBack = () => this.#returned(gathering)
    try {
      return { whole: await gathering.whole, giveBack }
    } catch (error) {
      if (this.#gathering === gathering) this.#gathering = undefined
      giveBack()
      throw error
    }
  }

  #gather(made: Made): Gathering {
    const { parts, budget } = this.#lender
    const isLarge = made.size > SMALL_BYTES
    const gathering: Gathering = { whole: undefined as never, borrowers: 0, isLarge, release: () => {} }
    gathering.whole = budget.take(isLarge ? LARGE_BYTES : made.size).then((release) => {
      gathering.release = release
      return gather(parts, made)
    })
    return gathering
  }

  #returned(gathering: Gathering): void {
    gathering.borrowers -= 1
    if (gathering.borrowers > 0) return
    const isCurrent = gathering === this.#gathering
    // A file takes no memory; what was in memory is still among the recent bytes.
    if (isCurrent && gathering.isLarge) this.#idle = setTimeout(() => this.close(), IDLE_MS).unref()
    else this.#end(gathering)
  }

  #end(gathering: Gathering): void {
    if (this.#gathering === gathering) this.#gathering = undefined
    gathering.whole.then(
      (whole) => whole.close(),
      () => {},
    )
    gathering.release()
  }

  /** The bytes are others from now on, or are needed no more; who has borrowed them may finish. */
  close(): void {
    clearTimeout(this.#idle)
    const gathering = this.#gathering
    this.#gathering = undefined
    if (gathering && gathering.borrowers === 0) this.#end(gathering)
  }
}

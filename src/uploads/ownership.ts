/**
 * Ownership of uploads: the lock of each, and what memory knows of it, which are one thing.
 *
 * What is decided on an upload is decided on the row that its owner has. A record is valid while its upload is held, or
 * while a finish or an end is at work on it; those two guard themselves, by their seal and by conditions in their
 * statements. Where the process has its database alone, nothing changes behind a record that is not held, so that it may
 * be remembered for the next request. All doors take the same locks.
 *
 * Where several instances share a database, the lock is the process's turn and then the claim, and each holder reads the row
 * anew: a record lasts as long as its request.
 */
import { type Claim, type Claims, claimsOfOne } from '../db/claims.ts'
import type { Statement } from '../db/database.ts'
import type { UploadRow } from '../db/schema.ts'
import type { Staged } from '../storage/staging.ts'
import type { Ledger } from './ledger.ts'
import { type Turn, UploadLock } from './lock.ts'

/** A row as it stood at one moment: a change makes another one. */
export type Row = Readonly<UploadRow>

/** One upload, as its owner has it. */
export interface Owned {
  /** `row.offset` is ahead of the table from the write that makes an upload whole until its finish has been committed. */
  row: Row
  /** The offset that the table has. */
  savedOffset: number
  readonly staged: Staged
  /** What the table has of its chunks, once it was asked. */
  ledger: Ledger | undefined
  /** Bytes that the table tells of are not there. */
  missing: boolean
}

export const ownedOf = (row: Row, staged: Staged): Owned => ({
  row,
  savedOffset: row.offset,
  staged,
  ledger: undefined,
  missing: false,
})

/** The table has taken this in, or will with the next commit. */
export function change(owned: Owned, changes: Partial<Row>): void {
  owned.row = { ...owned.row, ...changes }
}

/** A lock that is taken in one place and given back in another. */
export interface Lock {
  /** @throws ServiceError `upload_locked` when it can't be had in time; @param onWanted asks the holder to let go */
  lock(signal: AbortSignal, onWanted: () => void): Promise<void>
  unlock(): Promise<void>
}

interface Entry {
  readonly lock: UploadLock
  /** Of who holds the lock. */
  claim: Claim | undefined
  owned: Owned | undefined
  loading: Promise<Owned> | undefined
  /** Finishes and ends at work on it without its lock. */
  users: number
}

const isAtWork = ({ lock, users }: Entry) => lock.isHeld || users > 0

/** Such a record is the only memory of its bytes. */
const isAheadOfTable = ({ owned }: Entry) => owned !== undefined && owned.savedOffset !== owned.row.offset

const isNeeded = (entry: Entry) => isAtWork(entry) || isAheadOfTable(entry)

interface Options {
  /** Finds what the table and the store say of an upload. @throws ServiceError `upload_not_found` */
  load(id: string): Promise<Owned>
  /** How long a request waits for its turn before it is told 423. */
  waitMs?: number
  onTakeover?: (id: string) => void
  /** Uploads remembered between their requests. */
  rememberedAtMost?: number
  /** Where other instances write to the same database. Nothing is remembered then. */
  claims?: Claims | undefined
}

export class Ownership {
  /** In the order of their last use. */
  readonly #entries = new Map<string, Entry>()
  readonly #options: Required<Options>
  readonly #isShared: boolean

  constructor({ load, waitMs = 5_000, onTakeover = () => {}, rememberedAtMost = 4_000, claims }: Options) {
    this.#isShared = claims !== undefined
    this.#options = {
      load,
      waitMs,
      onTakeover,
      rememberedAtMost: this.#isShared ? 0 : rememberedAtMost,
      claims: claims ?? claimsOfOne,
    }
  }

  #entryOf(id: string): Entry {
    let entry = this.#entries.get(id)
    if (!entry) {
      const lock = new UploadLock(() => this.#options.onTakeover(id))
      entry = { lock, claim: undefined, owned: undefined, loading: undefined, users: 0 }
      this.#entries.set(id, entry)
    }
    return entry
  }

  #recordOf(id: string, entry: Entry): Promise<Owned> {
    if (entry.owned) return Promise.resolve(entry.owned)
    entry.loading ??= this.#options
      .load(id)
      .then((loaded) => {
        entry.owned ??= loaded
        return entry.owned
      })
      .finally(() => {
        entry.loading = undefined
      })
    return entry.loading
  }

  /** An upload was used, and is left alone now: it is remembered, and the one that was left alone for longest is not. */
  #rest(id: string, entry: Entry): void {
    if (isNeeded(entry)) return
    this.#entries.delete(id)
    // Missing bytes may come back with their file system: that is not for memory to keep.
    if (entry.owned && !entry.owned.missing) this.#entries.set(id, entry)
    for (const [oldest, each] of this.#entries) {
      if (this.#entries.size <= this.#options.rememberedAtMost) break
      if (isNeeded(each)) continue
      this.#drop(each)
      this.#entries.delete(oldest)
    }
  }

  async #take(id: string, signal: AbortSignal, cancel: (() => void) | undefined): Promise<Turn> {
    const entry = this.#entryOf(id)
    let turn: Turn | undefined
    let [isAsked, hasClaim] = [false, false]
    // A request that still waits for the claim has nothing to let go of: it would give way with nothing done.
    const ask = () => {
      isAsked = true
      if (hasClaim) cancel?.()
    }
    try {
      turn = await entry.lock.take(signal, cancel && ask, this.#options.waitMs)
      entry.claim = await this.#options.claims.take(id, signal, () => entry.lock.wantedElsewhere())
      hasClaim = true
      if (isAsked) cancel?.()
      if (this.#isShared && entry.users === 0) await this.#readAnew(id, entry)
      return turn
    } catch (error) {
      if (turn) this.#release(id, turn)
      else this.#rest(id, entry)
      throw error
    }
  }

  /**
   * What was read before may have been changed by another instance since. A record that is ahead of the table stays as
   * long as the table is where it was: its bytes were never acknowledged, and another instance may have taken others.
   */
  async #readAnew(id: string, entry: Entry): Promise<void> {
    const { owned } = entry
    if (owned && isAheadOfTable(entry)) {
      const { row } = await this.#options.load(id)
      if (entry.users > 0 || (row.offset === owned.savedOffset && row.state === owned.row.state)) return
    }
    this.#drop(entry)
  }

  #release(id: string, turn: Turn): void {
    const entry = this.#entries.get(id)
    if (!entry) return
    const { claim } = entry
    entry.claim = undefined
    // No request of ours waits for it: who comes next finds a claim of this process that is over.
    void claim?.release()
    entry.lock.release(turn)
    this.#rest(id, entry)
  }

  #drop(entry: Entry): void {
    entry.owned?.staged.forget()
    entry.owned = undefined
  }

  /** For a statement over uploads: no instance works on the upload. Undefined where there are no others. */
  get unclaimed(): Claims['unclaimed'] {
    return this.#options.claims.unclaimed
  }

  /** Ends the claim on an upload in the transaction that is the last of its holder's. */
  ended({ row }: Owned): Statement[] {
    return this.#entries.get(row.id)?.claim?.ended() ?? []
  }

  newLock(id: string): Lock {
    let mine: Turn | undefined
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
    return this.#entries.get(id)?.lock.isWanted ?? false
  }

  /**
   * Runs `work`, which is short, while holding the upload's lock: other requests wait.
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

  /**
   * Runs `work`, which is short, on an upload that no request and no finish is at work on.
   *
   * @returns undefined where one is
   */
  async ifFree<T>(id: string, work: (owned: Owned) => Promise<T>): Promise<T | undefined> {
    const entry = this.#entries.get(id)
    if (entry && isAtWork(entry)) return undefined
    if (this.#isShared && (await this.#options.claims.isHeld(id))) return undefined
    return this.holdShortly(id, NEVER, async () => work(await this.owned(id)))
  }

  /** The record of an upload whose lock the caller holds. @throws ServiceError `upload_not_found` */
  async owned(id: string): Promise<Owned> {
    const entry = this.#entries.get(id)
    if (!entry?.lock.isHeld) throw new Error(`upload ${id} is worked on without its lock`)
    return this.#recordOf(id, entry)
  }

  /**
   * Works on uploads without their locks, on what is guarded otherwise: a finish or an end. Their records stay until the
   * work is done.
   */
  async usingAll<T>(ids: readonly string[], work: (all: Owned[]) => Promise<T>): Promise<T> {
    const entries = ids.map((id) => [id, this.#entryOf(id)] as const)
    for (const [, entry] of entries) entry.users += 1
    try {
      return await work(await Promise.all(entries.map(([id, entry]) => this.#recordOf(id, entry))))
    } finally {
      for (const [id, entry] of entries) {
        entry.users -= 1
        this.#rest(id, entry)
      }
    }
  }

  using<T>(id: string, work: (owned: Owned) => Promise<T>): Promise<T> {
    return this.usingAll([id], ([owned]) => work(owned as Owned))
  }

  /** The row as memory or the table has it: to tell of, not to decide on. @throws ServiceError `upload_not_found` */
  async find(id: string): Promise<Row> {
    const known = this.#entries.get(id)?.owned
    if (known) return known.row
    // Kept, it might be taken for what its next holder reads.
    if (this.#isShared) return (await this.#options.load(id)).row
    return this.using(id, async ({ row }) => row)
  }

  /** What memory has of an upload. */
  remembered(id: string): Owned | undefined {
    return this.#entries.get(id)?.owned
  }

  /** All that memory has. */
  *all(): Iterable<Owned> {
    for (const { owned } of this.#entries.values()) if (owned) yield owned
  }

  /** The caller's uploads that a request or a finish is at work on. */
  atWorkOf(callerId: string): string[] {
    const mine = [...this.#entries].filter(([, entry]) => isAtWork(entry) && entry.owned?.row.callerId === callerId)
    return mine.map(([id]) => id)
  }

  /** Takes in an upload that has just begun. */
  add(owned: Owned): void {
    const { id } = owned.row
    const entry = this.#entryOf(id)
    entry.owned ??= owned
    this.#rest(id, entry)
  }

  /** What memory has of the upload can't be relied on: the table is asked again. */
  forget(owned: Owned): void {
    const { id } = owned.row
    owned.staged.forget()
    const entry = this.#entries.get(id)
    if (entry?.owned !== owned) return
    entry.owned = undefined
    this.#rest(id, entry)
  }
}

const NEVER = new AbortController().signal

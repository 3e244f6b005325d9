/**
 * Claims: which instance works on an upload just now, where several share a database.
 *
 * A claim is a courtesy. It saves work, and it asks an instance that holds a sleeping connection to store what it has and
 * to let go. Nothing rests on who holds it, on an answer being in time, or on clocks: an upload's row changes by
 * compare-and-set alone, so that of two instances that both believe to hold an upload one has its way, and the other one's
 * commit changes nothing.
 *
 * Who takes a claim already has its turn in its own process: `take` is not for the order among requests.
 */
import type { SQL } from 'drizzle-orm'
import type { Statement } from './database.ts'

export interface Claim {
  /** Tells it from every other claim, also from the next one of the same instance. */
  readonly nonce: string
  /** For the transaction that ends the work: the claim ends with it, without a trip of its own. */
  ended(): Statement[]
  /**
   * Ends it, where no transaction has, and tells those who wait for it; to be called in any case, once the work is over. A
   * claim that another instance has taken meanwhile is left alone. Never rejects.
   */
  release(): Promise<void>
}

export interface Claims {
  /**
   * Takes the upload: from nobody or from a dead instance at once, from a living one as soon as it lets go, and from one
   * that does not answer after a moment all the same.
   *
   * @param signal ends the waiting
   * @param letGo called once, when another instance wants the upload
   * @throws ServiceError `upload_locked` when it can't be had in time; `busy` when the database can't be asked
   */
  take(uploadId: string, signal: AbortSignal, letGo: () => void): Promise<Claim>
  /** Whether an instance that lives holds it. */
  isHeld(uploadId: string): Promise<boolean>
  /** For a statement over uploads: no instance works on the upload. Undefined where there are no others. */
  readonly unclaimed: SQL | undefined
  /** True on one instance at a time; on two for a moment, where one has lost its line and does not know it yet. */
  leads(what: 'sweep'): Promise<boolean>
  /** Since the start: how often another instance was waited for, and how often its claim was taken over. */
  readonly counts: Readonly<ClaimCounts>
  close(): Promise<void>
}

export interface ClaimCounts {
  waitedFor: number
  takenOver: number
}

const NOTHING: Claim = { nonce: '', ended: () => [], release: async () => {} }

/** Of a process that has its database alone: its own queue says all that a claim could. */
export const claimsOfOne: Claims = {
  take: async () => NOTHING,
  isHeld: async () => false,
  unclaimed: undefined,
  leads: async () => true,
  counts: { waitedFor: 0, takenOver: 0 },
  close: async () => {},
}

/**
 * Claims: which instance works on an upload just now.
 *
 * A claim is a courtesy that saves work, and asks a sleeping connection to hand over what it has. Nothing rests on who holds
 * it, on a lease being in time, or on clocks: an upload's row changes by compare-and-set alone.
 */
import type { Statement } from '../db/database.ts'

export interface Claim {
  /** Told apart from every other claim, also of the same instance. */
  readonly nonce: string
  /** Ends the claim in the transaction that ends the work. */
  ended(): Statement[]
  /** Ends it where it has not ended so. */
  release(): Promise<void>
}

export interface Claims {
  /**
   * Takes the upload: from nobody or a dead instance at once, from a living one when it lets go, from one that does not
   * answer after a moment all the same.
   *
   * @param letGo called once, when another instance wants the upload
   */
  take(uploadId: string, letGo: () => void): Promise<Claim>
  /** Whether an instance that lives holds it. */
  isHeld(uploadId: string): Promise<boolean>
  /** True on one instance at a time. */
  leads(what: 'sweep'): Promise<boolean>
  close(): Promise<void>
}

const NOTHING: Claim = { nonce: '', ended: () => [], release: async () => {} }

/** Of a process that has its database alone: the locks in its memory say all that a claim could. */
export const claimsOfOne: Claims = {
  take: async () => NOTHING,
  isHeld: async () => false,
  leads: async () => true,
  close: async () => {},
}

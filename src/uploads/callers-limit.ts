/**
 * How many uploads a caller may have open, and which of them give way to a new one: those that never got a byte.
 */
import type { Clock } from '../clock.ts'
import type { Database, Statement } from '../db/database.ts'
import { fewerOpenThan, idleGiveWay } from '../db/uploads.ts'
import { asServiceError, ServiceError } from '../errors.ts'
import type { Ownership } from './ownership.ts'

/** Bytes that follow in the same request are there by then. */
const FOLLOW_WITHIN_MS = 1_000

interface Parts {
  db: Database
  ownership: Pick<Ownership, 'atWorkOf' | 'unclaimed'>
  clock: Clock
  maxPerCaller: number
}

export type CallersLimit = ReturnType<typeof createCallersLimit>

export function createCallersLimit({ db, ownership, clock, maxPerCaller }: Parts) {
  /** Uploads whose first bytes are behind the request that begins them, and until when that is believed. */
  const followed = new Map<string, number>()

  /** The upload that begins now gives way to no other until its bytes can have come. */
  function bytesFollow(id: string): void {
    dropOld()
    followed.set(id, performance.now() + FOLLOW_WITHIN_MS)
  }

  /** They are in the order of their times. */
  function dropOld(): void {
    const nowMs = performance.now()
    for (const [known, untilMs] of followed) {
      if (untilMs > nowMs) break
      followed.delete(known)
    }
  }

  /** Uploads that bytes are on their way to. */
  function coming(callerId: string): string[] {
    dropOld()
    return [...ownership.atWorkOf(callerId), ...followed.keys()]
  }

  const tooMany = () =>
    new ServiceError('too_many_uploads', `No more than ${maxPerCaller} uploads may be open at once.`, {
      headers: { 'Retry-After': '30' },
    })

  /**
   * Runs the transaction that begins an upload of the caller's.
   *
   * @param statements gets what must stand ahead of the insert, so that many beginnings at once do not overshoot the limit
   * @returns the uploads that have given way
   * @throws ServiceError `too_many_uploads`
   */
  async function begin(callerId: string, statements: (room: Statement[]) => Statement[]): Promise<string[]> {
    const isRoom = fewerOpenThan(maxPerCaller, callerId, tooMany)
    try {
      await db.write(...statements([isRoom]))
      return []
    } catch (error) {
      if (asServiceError(error).code !== 'too_many_uploads') throw error
    }
    const { unclaimed } = ownership
    let expired: string[] = []
    const makeRoom = idleGiveWay(
      maxPerCaller,
      callerId,
      () => coming(callerId),
      (ids) => {
        expired = ids
      },
      unclaimed && { unclaimed, begunBeforeMs: clock.now() - FOLLOW_WITHIN_MS },
    )
    await db.write(...statements([makeRoom, isRoom]))
    return expired
  }

  return { begin, bytesFollow }
}

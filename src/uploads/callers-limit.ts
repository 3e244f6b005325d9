/**
 * How many uploads a caller may have open, and which of them give way to a new one: those that never got a byte.
 */
import { and, eq, ne, sql } from 'drizzle-orm'
import { bind, type Database, holds, type Statement } from '../db/database.ts'
import { uploads } from '../db/schema.ts'
import { ServiceError } from '../errors.ts'
import type { Register } from './register.ts'
import { neverGotAByte } from './upload.ts'

/** Bytes that follow in the same request are there by then. */
const FOLLOW_WITHIN_MS = 1_000

interface Parts {
  db: Database
  register: Pick<Register, 'isInUse'>
  maxPerCaller: number
}

export type CallersLimit = ReturnType<typeof createCallersLimit>

export function createCallersLimit({ db, register, maxPerCaller }: Parts) {
  const countOpen = db.orm
    .select({ count: sql<number>`count(*)` })
    .from(uploads)
    .where(and(eq(uploads.callerId, sql.placeholder('callerId')), sql`${uploads.state} in ('receiving', 'finishing')`))
    .prepare()
  // A form's bytes are on their way as long as its upload is open.
  const idle = and(eq(uploads.state, 'receiving'), neverGotAByte, ne(uploads.door, 'simple'))
  const oldestIdle = db.orm
    .select({ id: uploads.id })
    .from(uploads)
    .where(and(eq(uploads.callerId, sql.placeholder('callerId')), sql`${uploads.state} = 'receiving'`, idle))
    .orderBy(uploads.createdAtMs)
    .prepare()
  const expireIdle = db.orm
    .update(uploads)
    .set({ state: 'expired' })
    .where(and(eq(uploads.id, sql.placeholder('id')), idle))
    .prepare()

  /** Uploads whose first bytes are behind the request that begins them, and until when that is believed. */
  const followed = new Map<string, number>()

  const isComing = (id: string) => register.isInUse(id) || (followed.get(id) ?? 0) > performance.now()

  /** The upload that begins now gives way to no other until its bytes can have come. */
  function bytesFollow(id: string): void {
    const nowMs = performance.now()
    for (const [known, untilMs] of followed) {
      if (untilMs > nowMs) break
      followed.delete(known)
    }
    followed.set(id, nowMs + FOLLOW_WITHIN_MS)
  }

  /** Expires so many that the caller may have one more; whether there are as many. */
  function makeRoom(callerId: string, expired: string[]): boolean {
    const { count } = countOpen.get({ callerId }) as unknown as { count: number }
    const tooMany = count + 1 - maxPerCaller
    if (tooMany <= 0) return true
    for (const { id } of oldestIdle.all({ callerId }) as unknown as { id: string }[]) {
      if (isComing(id)) continue
      bind(expireIdle, { id }).run()
      expired.push(id)
      if (expired.length === tooMany) return true
    }
    return false
  }

  /**
   * Stands ahead of the insert in one transaction, so that many beginnings at once do not overshoot the limit.
   *
   * @returns the statement, and the uploads that it has expired once it is committed
   */
  function roomFor(callerId: string): { statement: Statement; expired: string[] } {
    const expired: string[] = []
    const statement = holds<boolean>(
      () => {
        // The transaction may be tried again.
        expired.length = 0
        return makeRoom(callerId, expired)
      },
      (isRoom) => isRoom,
      () =>
        new ServiceError('too_many_uploads', `No more than ${maxPerCaller} uploads may be open at once.`, {
          headers: { 'Retry-After': '30' },
        }),
    )
    return { statement, expired }
  }

  return { roomFor, bytesFollow }
}

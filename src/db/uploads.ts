/**
 * Uploads: the statements of a life, each with the state that it needs as a condition of its own, and what is asked of
 * single rows. What the sweep asks of many is in `uploads-swept.ts`.
 */
import { and, desc, eq, inArray, isNotNull, isNull, lte, ne, notInArray, or, type SQL, sql } from 'drizzle-orm'
import { bind, holds, kept, once, type Reading, returning, type Statement } from './database.ts'
import { rowOf, set } from './placeholders.ts'
import { OPEN_STATES, type UploadRow, uploads } from './schema.ts'

/** An upload that never got a byte is not waited for longer than this. */
export const UNTOUCHED_EXPIRES_AFTER_MS = 3_600_000

const isId = eq(uploads.id, sql.placeholder('id'))
const isOpen = inArray(uploads.state, OPEN_STATES)
const isReceiving = eq(uploads.state, 'receiving')
const isDeferred = and(isReceiving, isNull(uploads.length))
/** Its offset is the one that was read: no other has moved it since. */
const isAtExpected = eq(uploads.offset, sql.placeholder('expected'))
const isLeads = eq(uploads.leadId, sql.placeholder('leadId'))
const isCallers = eq(uploads.callerId, sql.placeholder('callerId'))
/** Spelt out, for the index over open uploads. */
const isOpenByIndex = sql`${uploads.state} in ('receiving', 'finishing')`

const neverGotAByte = and(
  eq(uploads.offset, 0),
  eq(uploads.lastByteAtMs, uploads.createdAtMs),
  sql`${uploads.length} is distinct from 0`,
)

/** How long an upload may be silent, and the time to compare stored times with. */
export interface Patience {
  nowMs: number
  expiresAfterMs: number
}

/** The rows whose expiry has come, by the values of `silentSince`. */
export const silentTooLong = or(
  lte(uploads.lastByteAtMs, sql.placeholder('silentSinceMs')),
  and(neverGotAByte, lte(uploads.lastByteAtMs, sql.placeholder('untouchedSinceMs'))),
)
export const silentSince = ({ nowMs, expiresAfterMs }: Patience) => ({
  silentSinceMs: nowMs - expiresAfterMs,
  untouchedSinceMs: nowMs - UNTOUCHED_EXPIRES_AFTER_MS,
})

const byId = kept((orm) => orm.select().from(uploads).where(isId))
const underKey = and(isCallers, isLeads, eq(uploads.idempotencyKey, sql.placeholder('key')))
const newestOf = (which: SQL | undefined) =>
  kept((orm) =>
    orm.select().from(uploads).where(and(which, isOpenByIndex)).orderBy(desc(uploads.createdAtMs), desc(uploads.id)),
  )
const openOfLead = newestOf(isLeads)
const openOfCaller = newestOf(and(isLeads, isCallers))
const idUnderKey = kept((orm) => orm.select({ id: uploads.id }).from(uploads).where(underKey))
const promised = kept((orm) =>
  orm
    .select({
      id: uploads.id,
      callerId: uploads.callerId,
      length: sql<number>`${uploads.length}`,
      offset: uploads.offset,
    })
    .from(uploads)
    .where(and(isOpen, isNotNull(uploads.length)))
    .orderBy(uploads.createdAtMs),
)
const insert = kept((orm) => orm.insert(uploads).values(rowOf(uploads)))
const countOpen = kept((orm) =>
  orm.select({ count: sql<number>`count(*)` }).from(uploads).where(and(isCallers, isOpenByIndex)),
)
const offset = kept((orm) =>
  orm
    .update(uploads)
    .set({ offset: set('offset'), lastByteAtMs: set('lastByteAtMs') })
    .where(and(isId, isOpen, isAtExpected)),
)
const seal = kept((orm) =>
  orm
    .update(uploads)
    .set({ state: 'finishing', length: set('length'), callLogId: set('callLogId'), key: set('key') })
    .where(and(isId, isDeferred, isAtExpected)),
)
const relay = kept((orm) =>
  orm
    .update(uploads)
    .set({ offset: set('offset') })
    .where(and(isId, isDeferred, isAtExpected)),
)
const heard = kept((orm) =>
  orm
    .update(uploads)
    .set({ lastByteAtMs: set('lastByteAtMs') })
    .where(and(isId, isDeferred)),
)
const declare = kept((orm) =>
  orm
    .update(uploads)
    .set({ length: set('length') })
    .where(and(isId, isDeferred, lte(uploads.offset, sql.placeholder('length')))),
)
const finish = kept((orm) =>
  orm
    .update(uploads)
    .set({
      state: 'finished',
      offset: set('offset'),
      lastByteAtMs: set('lastByteAtMs'),
      recordingId: set('recordingId'),
    })
    .where(and(isId, isOpen, isAtExpected)),
)
const end = kept((orm) =>
  orm
    .update(uploads)
    .set({ state: set('state') as SQL<'terminated'> })
    .where(and(isId, isOpen)),
)
const expire = kept((orm) =>
  orm
    .update(uploads)
    .set({ state: 'expired' })
    .where(and(isId, isOpen, silentTooLong)),
)
const endedWithout = and(inArray(uploads.state, ['terminated', 'expired', 'rejected']), isNull(uploads.recordingId))
const freeKey = kept((orm) =>
  orm
    .update(uploads)
    .set({ idempotencyKey: null })
    .where(and(underKey, or(endedWithout, and(isReceiving, silentTooLong)))),
)
const forgetFinished = kept((orm) =>
  orm
    .update(uploads)
    .set({ state: 'terminated' })
    .where(and(isId, eq(uploads.state, 'finished'))),
)

const openByDoor = kept((orm) =>
  orm
    .select({ door: uploads.door, count: sql<number>`count(*)` })
    .from(uploads)
    .where(isOpenByIndex)
    .groupBy(uploads.door),
)

export const uploadById = (db: Reading, id: string) => db.get(byId, { id })

export interface UploadKey {
  callerId: string
  leadId: string
  key: string
}

export const uploadIdUnderKey = async (db: Reading, key: UploadKey) => (await db.get(idUnderKey, { ...key }))?.id

/** What open uploads of known length may still bring. */
export const promisedUploads = (db: Reading) => db.all(promised)

/** A lead's open uploads, those of one caller where one is named, newest first. */
export const openUploadsOfLead = (
  db: Reading,
  leadId: string,
  callerId: string | undefined,
): Promise<UploadRow[]> | UploadRow[] =>
  callerId === undefined ? db.all(openOfLead, { leadId }) : db.all(openOfCaller, { leadId, callerId })

/** How many are open, by the door that they come by. */
export const openUploadsByDoor = (db: Reading) => db.all(openByDoor)

export const uploadAdded = (row: UploadRow): Statement => bind(insert, { ...row })

/** Takes the key from an upload that ended without a recording: the next one may have it. One that was ended after it has keeps it. */
export const keyFreed = (key: UploadKey, patience: Patience): Statement =>
  bind(freeKey, { ...key, ...silentSince(patience) })

/** Stands ahead of the insert in one transaction, so that many beginnings at once do not overshoot the limit. */
export const fewerOpenThan = (limit: number, callerId: string, error: () => Error): Statement =>
  holds(countOpen, { callerId }, (open) => (open?.count ?? 0) < limit, { alone: `uploads of ${callerId}`, error })

/**
 * Expires the caller's oldest uploads that never got a byte, as many as must go for one more to be had.
 *
 * @param coming uploads that bytes are on their way to: they give way to none
 * @param take gets the ids of those that have given way
 * @param elsewhere the same of other instances: no instance works on the upload, and it was not begun just now
 */
export const idleGiveWay = (
  limit: number,
  callerId: string,
  coming: () => readonly string[],
  take: (ids: string[]) => void,
  elsewhere?: { unclaimed: SQL; begunBeforeMs: number },
): Statement =>
  returning(
    once((orm) => {
      const idle = and(
        eq(uploads.callerId, callerId),
        isReceiving,
        neverGotAByte,
        // A form's bytes are on their way as long as its upload is open.
        ne(uploads.door, 'simple'),
      )
      const ours = coming()
      const mine = sql`(select count(*) from uploads as mine where mine.caller_id = ${callerId} and mine.state in ('receiving', 'finishing'))`
      const tooMany = sql`case when ${mine} + 1 > ${limit} then ${mine} + 1 - ${limit} else 0 end`
      const oldest = sql`(select ${uploads.id} from ${uploads} where ${and(
        idle,
        ours.length > 0 ? notInArray(uploads.id, [...ours]) : undefined,
        elsewhere && and(elsewhere.unclaimed, lte(uploads.createdAtMs, elsewhere.begunBeforeMs)),
      )} order by ${uploads.createdAtMs} limit ${tooMany})`
      return orm
        .update(uploads)
        .set({ state: 'expired' })
        .where(and(sql`${uploads.id} in ${oldest}`, isReceiving))
        .returning({ id: uploads.id })
    }),
    undefined,
    (rows) => take(rows.map(({ id }) => id)),
  )

/** Partial uploads become part of a final one; as many rows change as are whole, and still open for it. */
export const partsJoined = (ids: readonly string[], finalId: string): Statement =>
  bind(
    once((orm) =>
      orm
        .update(uploads)
        .set({ state: 'concatenated', finalId })
        .where(and(inArray(uploads.id, [...ids]), isReceiving, eq(uploads.offset, uploads.length))),
    ),
  )

/** What an upload is changed by, if the table still has the offset that was read. */
type At<Values> = Values & { id: string; expected: number }

/** So many bytes are durable. */
export const offsetReached = (values: At<Pick<UploadRow, 'offset' | 'lastByteAtMs'>>): Statement => bind(offset, values)

/** Length, call and key of an upload that deferred them; it takes no more bytes. */
export const uploadSealed = (values: At<{ length: number; callLogId: string; key: string }>): Statement =>
  bind(seal, values)

/** The bytes were laid out anew: the offset goes forward or back. */
export const offsetRelaid = (values: At<{ offset: number }>): Statement => bind(relay, values)

/** Bytes came that are kept elsewhere until their turn. */
export const uploadHeardOf = (values: { id: string; lastByteAtMs: number }): Statement => bind(heard, values)

/** The length of an upload that deferred it; no shorter than what has come. */
export const lengthDeclared = (values: { id: string; length: number }): Statement => bind(declare, values)

export const uploadFinished = (values: At<{ offset: number; lastByteAtMs: number; recordingId: string }>): Statement =>
  bind(finish, values)

/** The end of an open upload that becomes no recording. */
export const uploadEnded = (id: string, state: 'terminated' | 'expired' | 'rejected'): Statement =>
  bind(end, { id, state })

/** The same, where it has been silent for too long. */
export const uploadExpired = (id: string, patience: Patience): Statement =>
  bind(expire, { id, ...silentSince(patience) })

/** A finished upload whose client wants to hear of it no more; its recording stays. */
export const finishedTerminated = (id: string): Statement => bind(forgetFinished, { id })

/** Of a copy: what is under way there goes nowhere. */
export const openUploadsGone = (): Statement => bind(once((orm) => orm.delete(uploads).where(isOpen)))

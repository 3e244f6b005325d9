/**
 * Uploads as the sweep asks for them: many, some at a time, in the order of their ids.
 *
 * Row by row, and what is looked for is picked by the caller: there are few such among many, and a query that looks for them
 * stands in the way of all requests until it has read them all.
 */
import { and, asc, eq, gt, inArray, isNull, lte, not, notExists, or, type SQL, sql } from 'drizzle-orm'
import { textsAmong } from './among.ts'
import { bind, kept, type Orm, once, type Reading, type Statement } from './database.ts'
import { attempts, OPEN_STATES, recordings, segments, uploads } from './schema.ts'
import { type Patience, silentSince, silentTooLong } from './uploads.ts'

const isOpen = inArray(uploads.state, OPEN_STATES)
const isAfter = gt(uploads.id, sql.placeholder('after'))
const LIMIT = sql.placeholder('limit')

const open = kept((orm) => orm.select().from(uploads).where(and(isOpen, isAfter)).orderBy(asc(uploads.id)).limit(LIMIT))
const isWhole = and(eq(uploads.length, uploads.offset), sql`${uploads.concat} is distinct from 'partial'`)
const due = kept((orm) =>
  orm
    .select()
    .from(uploads)
    .where(and(isOpen, or(isWhole, silentTooLong), isAfter))
    .orderBy(asc(uploads.id))
    .limit(LIMIT),
)
const whole = kept((orm) =>
  orm
    .select({ count: sql<number>`count(*)`, oldestAtMs: sql<number | null>`min(${uploads.lastByteAtMs})` })
    .from(uploads)
    .where(and(isOpen, isWhole)),
)
const keys = kept((orm) =>
  orm
    .select({ id: uploads.id, state: uploads.state, key: uploads.key, recordingId: recordings.id })
    .from(uploads)
    .leftJoin(recordings, eq(recordings.path, uploads.key))
    .where(isAfter)
    .orderBy(asc(uploads.id))
    .limit(LIMIT),
)
const forms = kept((orm) =>
  orm
    .select({ id: uploads.id })
    .from(uploads)
    .where(and(eq(uploads.door, 'simple'), isOpen)),
)
const ahead = kept((orm) =>
  orm
    .select({ id: uploads.id })
    .from(uploads)
    .where(and(isOpen, gt(uploads.lastByteAtMs, sql.placeholder('ms'))))
    .limit(1),
)

/** An upload that is open, or a part of one that is. */
const isNeeded = (orm: Orm): SQL =>
  sql`(${isOpen} or (${uploads.state} = 'concatenated' and ${inArray(
    uploads.finalId,
    orm.select({ id: uploads.id }).from(uploads).where(isOpen),
  )}))`

/** Since when an upload that is over must have been silent to be forgotten: any, and one with a key but no recording. */
export interface Memory {
  silentSinceMs: number
  keyedSilentSinceMs: number
}

/**
 * An upload that is over, names no bytes any more, and was remembered for long enough: one with a key for as long as its
 * recording is there, and for as long as keys are kept in any case. Of one that expired, the last byte came that much
 * before its end.
 */
const isForgettable = (orm: Orm, { silentSinceMs, keyedSilentSinceMs }: Memory): SQL => {
  const recording = orm.select({ id: recordings.id }).from(recordings).where(eq(recordings.uploadId, uploads.id))
  const isKeyFree = or(
    isNull(uploads.idempotencyKey),
    and(lte(uploads.lastByteAtMs, keyedSilentSinceMs), notExists(recording)),
  )
  const hasNothingLeft = [segments, attempts].map(({ uploadId }) =>
    notExists(orm.select({ one: sql`1` }).from(uploadId.table).where(eq(uploadId, uploads.id))),
  )
  return sql`(${and(not(isNeeded(orm)), lte(uploads.lastByteAtMs, silentSinceMs), isKeyFree, ...hasNothingLeft)})`
}

export const openUploadsAfter = (db: Reading, after: string, limit: number) => db.all(open, { after, limit })

/** Open uploads that are whole, or have been silent for too long. */
export const dueUploadsAfter = (db: Reading, after: string, limit: number, patience: Patience) =>
  db.all(due, { after, limit, ...silentSince(patience) })

/** Of these ids, those that are uploads, and whether their bytes are still needed. */
export const neededAmong = async (db: Reading, ids: readonly string[]): Promise<Map<string, boolean>> => {
  const rows = await db.all(
    once((orm) =>
      orm
        .select({ id: uploads.id, isNeeded: sql<unknown>`${isNeeded(orm)}` })
        .from(uploads)
        .where(inArray(uploads.id, [...ids])),
    ),
  )
  return new Map(rows.map(({ id, isNeeded }) => [id, Boolean(isNeeded)]))
}

/** With the recording that lies under the upload's key. */
export const uploadKeysAfter = (db: Reading, after: string, limit: number) => db.all(keys, { after, limit })

/** The same, and whether the upload may be forgotten. */
export const forgettableAfter = (db: Reading, after: string, limit: number, memory: Memory) =>
  db.all(
    once((orm) =>
      orm
        .select({
          id: uploads.id,
          key: uploads.key,
          recordingId: recordings.id,
          isForgettable: sql<unknown>`${isForgettable(orm, memory)}`,
        })
        .from(uploads)
        .leftJoin(recordings, eq(recordings.path, uploads.key))
        .where(gt(uploads.id, after))
        .orderBy(asc(uploads.id))
        .limit(limit),
    ),
  )

/** The row goes, if it still may. */
export const uploadForgotten = (id: string, memory: Memory): Statement =>
  bind(once((orm) => orm.delete(uploads).where(and(eq(uploads.id, id), isForgettable(orm, memory)))))

/** Open uploads of forms: each lives as long as its one request. */
export const openForms = async (db: Reading): Promise<string[]> => (await db.all(forms)).map(({ id }) => id)

/** Those of the keys that uploads have. */
export const keysOfUploads = (db: Reading, among: readonly string[]) => textsAmong(db, uploads.key, among)

/** An upload that never got a byte is told by its two times: they stay the same. */
const both = (lastByteAtMs: SQL) => ({
  createdAtMs: sql`case when ${uploads.createdAtMs} = ${uploads.lastByteAtMs} then ${lastByteAtMs} else ${uploads.createdAtMs} end`,
  lastByteAtMs,
})

/** Whether an open upload was heard of later than this. */
export const isAnyHeardAfter = async (db: Reading, ms: number) => (await db.get(ahead, { ms })) !== undefined

/** The times of open uploads move ahead, as far as `nowMs`. */
export const timesMoved = (byMs: number, nowMs: number): Statement => {
  const later = sql`${uploads.lastByteAtMs} + ${byMs}`
  const moved = sql`case when ${later} < ${nowMs} then ${later} else ${nowMs} end`
  return bind(once((orm) => orm.update(uploads).set(both(moved)).where(isOpen)))
}

/** Open uploads that were heard of later than `afterMs` were so at `nowMs`. */
export const timesSetBack = (afterMs: number, nowMs: number): Statement =>
  bind(
    once((orm) =>
      orm
        .update(uploads)
        .set(both(sql`${nowMs}`))
        .where(and(isOpen, gt(uploads.lastByteAtMs, afterMs))),
    ),
  )

/** Uploads that are whole and no recordings yet: how many, and when the last byte of the oldest came. */
export const wholeUploads = async (db: Reading) => {
  const found = await db.get(whole)
  const oldestAtMs = found?.oldestAtMs ?? null
  return { count: Number(found?.count ?? 0), oldestAtMs: oldestAtMs === null ? undefined : Number(oldestAtMs) }
}

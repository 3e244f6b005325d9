/** Recordings: read by id, by lead and in order, written once, deleted. */
import { asc, desc, eq, gt, gte, sql } from 'drizzle-orm'
import { textsAmong } from './among.ts'
import { atHand, bind, kept, type Reading, returning, type Statement } from './database.ts'
import { rowOf } from './placeholders.ts'
import { type Recording, recordings } from './schema.ts'

const isId = eq(recordings.id, sql.placeholder('id'))

const existing = kept((orm) => orm.select({ id: recordings.id }).from(recordings).where(isId))
const digest = kept((orm) => orm.select({ sha256: recordings.sha256 }).from(recordings).where(isId))
const playable = atHand((orm) =>
  orm
    .select({
      id: recordings.id,
      leadId: recordings.leadId,
      filename: recordings.filename,
      path: recordings.path,
      contentType: recordings.contentType,
      size: recordings.size,
      sha256: recordings.sha256,
      createdAtMs: recordings.createdAtMs,
      // The lead's owner of today; the recording may be of another's time. Mapping a join costs Drizzle twice the query.
      telecallerId: sql<string>`(select leads.telecaller_id from leads where leads.id = recordings.lead_id)`,
    })
    .from(recordings)
    .where(isId),
)
const insert = kept((orm) =>
  orm
    .insert(recordings)
    .values({
      ...rowOf(recordings),
      // The lead's owner in the moment in which the recording is written.
      telecallerId: sql`(select telecaller_id from leads where id = ${sql.placeholder('leadId')})`,
    })
    .returning({ telecallerId: recordings.telecallerId }),
)
const remove = kept((orm) => orm.delete(recordings).where(isId))
const page = kept((orm) =>
  orm
    .select()
    .from(recordings)
    .where(gt(recordings.id, sql.placeholder('after')))
    .orderBy(asc(recordings.id))
    .limit(sql.placeholder('limit')),
)
const totals = kept((orm) =>
  orm
    .select({ count: sql<number>`count(*)`, bytes: sql<number>`coalesce(sum(${recordings.size}), 0)` })
    .from(recordings)
    .where(gte(recordings.createdAtMs, sql.placeholder('sinceMs'))),
)
const sums = kept((orm) =>
  orm.select({ path: recordings.path, sha256: recordings.sha256 }).from(recordings).orderBy(asc(recordings.path)),
)
// Ids rise with time, and the key is an index.
const newest = kept((orm) =>
  orm.select({ createdAtMs: recordings.createdAtMs }).from(recordings).orderBy(desc(recordings.id)).limit(1),
)
const any = kept((orm) => orm.select({ id: recordings.id }).from(recordings).limit(1))

export const sha256ById = async (db: Reading, id: string) => (await db.get(digest, { id }))?.sha256
export const isRecorded = async (db: Reading, id: string) => (await db.get(existing, { id })) !== undefined

/** What playback needs to know, with the lead's owner, in one look-up. */
export const playableById = (db: Reading, id: string) => db.get(playable, { id })
export type Playable = NonNullable<Awaited<ReturnType<typeof playableById>>>

/** @param written gets what the table decides: whose the lead is at that moment */
export const recordingAdded = (
  recording: Recording,
  written: (decided: Pick<Recording, 'telecallerId'>) => void,
): Statement => returning(insert, { ...recording }, ([decided]) => decided && written(decided))

export const recordingGone = (id: string): Statement => bind(remove, { id })

/** Some of all by their id. */
export const recordingsAfter = (db: Reading, after: string, limit: number) => db.all(page, { after, limit })

/** How many there are that were stored since, and their bytes. */
export const recordingTotals = async (db: Reading, sinceMs: number = 0) =>
  (await db.get(totals, { sinceMs })) ?? { count: 0, bytes: 0 }

/** When the last one was stored; undefined where there is none. */
export const lastRecordedAtMs = async (db: Reading) => (await db.get(newest))?.createdAtMs

/** Path and SHA-256 (hex) of all, by path. */
export const recordingSums = (db: Reading) => db.all(sums)

/** Whether there is a recording at all. */
export const knowsRecordings = async (db: Reading) => (await db.get(any)) !== undefined

/** Those of the paths that are recordings'. */
export const recordedPaths = (db: Reading, paths: readonly string[]) => textsAmong(db, recordings.path, paths)

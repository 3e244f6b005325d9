/**
 * Attempts: keys under which a finish may have put a recording's bytes. Each is written down before its bytes are, so that
 * whatever a crash leaves is named by a row.
 */
import { and, asc, eq, notExists, notInArray, sql } from 'drizzle-orm'
import { textsAmong } from './among.ts'
import { bind, kept, type Reading, type Statement } from './database.ts'
import { rowOf } from './placeholders.ts'
import { attempts, OPEN_STATES, recordings, uploads } from './schema.ts'

/** A key that an upload's bytes may lie under. */
export interface Attempt {
  uploadId: string
  key: string
}

/** One of an upload that is over. */
interface PastAttempt extends Attempt {
  lastByteAtMs: number
}

const ofUpload = eq(attempts.uploadId, sql.placeholder('uploadId'))

const insert = kept((orm) => orm.insert(attempts).values(rowOf(attempts)).onConflictDoNothing())
const list = kept((orm) => orm.select({ key: attempts.key }).from(attempts).where(ofUpload).orderBy(asc(attempts.key)))
const remove = kept((orm) => orm.delete(attempts).where(and(ofUpload, eq(attempts.key, sql.placeholder('key')))))
const inVain = kept((orm) =>
  orm
    .select({ uploadId: attempts.uploadId, key: attempts.key, lastByteAtMs: uploads.lastByteAtMs })
    .from(attempts)
    .innerJoin(uploads, eq(uploads.id, attempts.uploadId))
    .where(
      and(
        sql`(${attempts.uploadId}, ${attempts.key}) > (${sql.placeholder('afterUpload')}, ${sql.placeholder('afterKey')})`,
        notInArray(uploads.state, OPEN_STATES),
        notExists(orm.select({ one: sql`1` }).from(recordings).where(eq(recordings.path, attempts.key))),
      ),
    )
    .orderBy(asc(attempts.uploadId), asc(attempts.key))
    .limit(sql.placeholder('limit')),
)

/** Announced twice is as good as once. */
export const attemptAnnounced = (attempt: Attempt): Statement => bind(insert, { ...attempt })

/** It has become the recording, or nothing lies under its key. */
export const attemptGone = (attempt: Attempt): Statement => bind(remove, { ...attempt })

export const attemptsOf = async (db: Reading, uploadId: string): Promise<string[]> =>
  (await db.all(list, { uploadId })).map(({ key }) => key)

/** Those of uploads that are over which became no recording, some of them in order. */
export const attemptsInVain = (db: Reading, after: Attempt, limit: number): Promise<PastAttempt[]> | PastAttempt[] =>
  db.all(inVain, { afterUpload: after.uploadId, afterKey: after.key, limit })

/** Those of the keys that attempts have. */
export const keysOfAttempts = (db: Reading, among: readonly string[]) => textsAmong(db, attempts.key, among)

/**
 * Rows as they are carried from one database into another: read some at a time, and written so that to do it again, or
 * after it was broken off, changes only what is not there yet or is not the same.
 */
import {
  and,
  asc,
  eq,
  getTableColumns,
  gt,
  inArray,
  isNotNull,
  lte,
  ne,
  or,
  type SQL,
  sql,
  type Table,
} from 'drizzle-orm'
import { bind, kept, once, type Reading, type Statement } from './database.ts'
import { rowOf } from './placeholders.ts'
import {
  type CallLog,
  callLogs,
  chunks,
  type Lead,
  leads,
  type Recording,
  recordings,
  tombstones,
  type UploadRow,
  uploads,
} from './schema.ts'

const AFTER = sql.placeholder('after')
const LIMIT = sql.placeholder('limit')

/** The row that could not be inserted, column by column. */
const excluded = (table: Table): Record<string, SQL> =>
  Object.fromEntries(
    Object.entries(getTableColumns(table)).map(([name, column]) => [name, sql.raw(`excluded."${column.name}"`)]),
  )

/** Whether it has another value in any of its columns. */
const isDifferent = (table: Table): SQL =>
  or(
    ...Object.values(getTableColumns(table)).map(
      (column) => sql`${column} is distinct from ${sql.raw(`excluded."${column.name}"`)}`,
    ),
  ) as SQL

const leadPage = kept((orm) => orm.select().from(leads).where(gt(leads.id, AFTER)).orderBy(asc(leads.id)).limit(LIMIT))
const callLogPage = kept((orm) =>
  orm.select().from(callLogs).where(gt(callLogs.id, AFTER)).orderBy(asc(callLogs.id)).limit(LIMIT),
)
const uploadPage = kept((orm) =>
  orm.select().from(uploads).where(gt(uploads.id, AFTER)).orderBy(asc(uploads.id)).limit(LIMIT),
)
const recordingPage = kept((orm) =>
  orm.select().from(recordings).where(gt(recordings.path, AFTER)).orderBy(asc(recordings.path)).limit(LIMIT),
)

// One that is newer where it would go stays: it has been changed there since.
const putLead = kept((orm) =>
  orm
    .insert(leads)
    .values(rowOf(leads))
    .onConflictDoUpdate({
      target: leads.id,
      set: excluded(leads),
      setWhere: and(lte(leads.updatedAtMs, sql`excluded.updated_at_ms`), isDifferent(leads)),
    }),
)
const putCallLog = kept((orm) =>
  orm
    .insert(callLogs)
    .values(rowOf(callLogs))
    .onConflictDoUpdate({
      target: callLogs.id,
      set: excluded(callLogs),
      setWhere: and(lte(callLogs.updatedAtMs, sql`excluded.updated_at_ms`), isDifferent(callLogs)),
    }),
)
const putUpload = kept((orm) =>
  orm
    .insert(uploads)
    .values(rowOf(uploads))
    .onConflictDoUpdate({ target: uploads.id, set: excluded(uploads), setWhere: isDifferent(uploads) }),
)
const putRecording = kept((orm) => orm.insert(recordings).values(rowOf(recordings)).onConflictDoNothing())
const putTombstone = kept((orm) => orm.insert(tombstones).values(rowOf(tombstones)).onConflictDoNothing())
const releaseKey = kept((orm) =>
  orm
    .update(uploads)
    .set({ idempotencyKey: null })
    .where(
      and(
        eq(uploads.callerId, sql.placeholder('callerId')),
        eq(uploads.leadId, sql.placeholder('leadId')),
        eq(uploads.idempotencyKey, sql.placeholder('key')),
        isNotNull(uploads.idempotencyKey),
        ne(uploads.id, sql.placeholder('id')),
      ),
    ),
)
const dropChunk = kept((orm) =>
  orm
    .delete(chunks)
    .where(and(eq(chunks.uploadId, sql.placeholder('uploadId')), eq(chunks.index, sql.placeholder('index')))),
)

export const leadsAfter = (db: Reading, after: string, limit: number) => db.all(leadPage, { after, limit })
export const callLogsAfter = (db: Reading, after: string, limit: number) => db.all(callLogPage, { after, limit })
export const uploadsAfter = (db: Reading, after: string, limit: number) => db.all(uploadPage, { after, limit })
/** In the order of their paths, by which stores list what they have. */
export const recordingsAfterPath = (db: Reading, after: string, limit: number) =>
  db.all(recordingPage, { after, limit })

export const leadsAmong = (db: Reading, ids: readonly string[]) =>
  db.all(
    once((orm) =>
      orm
        .select()
        .from(leads)
        .where(inArray(leads.id, [...ids])),
    ),
  )
export const callLogsAmong = (db: Reading, ids: readonly string[]) =>
  db.all(
    once((orm) =>
      orm
        .select()
        .from(callLogs)
        .where(inArray(callLogs.id, [...ids])),
    ),
  )
export const uploadsAmong = (db: Reading, ids: readonly string[]) =>
  db.all(
    once((orm) =>
      orm
        .select()
        .from(uploads)
        .where(inArray(uploads.id, [...ids])),
    ),
  )
export const recordingsAmong = (db: Reading, ids: readonly string[]) =>
  db.all(
    once((orm) =>
      orm
        .select()
        .from(recordings)
        .where(inArray(recordings.id, [...ids])),
    ),
  )

export const leadCopied = (lead: Lead): Statement => bind(putLead, { ...lead })
export const callLogCopied = (callLog: CallLog): Statement => bind(putCallLog, { ...callLog })
export const recordingCopied = (recording: Recording): Statement => bind(putRecording, { ...recording })
export const tombstoneCopied = (path: string): Statement => bind(putTombstone, { path })
export const chunkDropped = (uploadId: string, index: number): Statement => bind(dropChunk, { uploadId, index })

/** The row; an `Idempotency-Key` that another upload had before has it alone from then on. */
export const uploadCopied = (row: UploadRow): Statement[] => {
  const { id, callerId, leadId, idempotencyKey: key } = row
  return [...(key === null ? [] : [bind(releaseKey, { id, callerId, leadId, key })]), bind(putUpload, { ...row })]
}

/**
 * The tables, the one truth about uploads and recordings. Times are milliseconds since the epoch, sizes bytes.
 */
import { sql } from 'drizzle-orm'
import { type Kit, sqliteKit } from './kit.ts'

/**
 * `receiving`: bytes may still come. `finishing`: whole and sealed, on its way to a recording (its key is written).
 * `finished`: its recording is committed (and may have been deleted since). The others are ends without a recording of
 * its own: `concatenated` is a partial upload whose bytes are its final one's, `rejected` a whole upload that failed its
 * promised digest.
 */
export const UPLOAD_STATES = [
  'receiving',
  'finishing',
  'finished',
  'terminated',
  'expired',
  'concatenated',
  'rejected',
] as const

/** An upload in one of these may still become a recording. */
export const OPEN_STATES: (typeof UPLOAD_STATES)[number][] = ['receiving', 'finishing']

/** The tables, over the columns of a dialect. */
export const tables = ({ table, text, integer, real, boolean, index, uniqueIndex, primaryKey, indexesTimes }: Kit) => {
  const leads = table(
    'leads',
    {
      id: text().primaryKey(),
      telecallerId: text('telecaller_id').notNull(),
      name: text(),
      createdAtMs: integer('created_at_ms').notNull(),
      updatedAtMs: integer('updated_at_ms').notNull(),
    },
    (t) => [
      index('leads_newest').on(t.createdAtMs, t.id),
      index('leads_telecaller').on(t.telecallerId, t.createdAtMs, t.id),
      index('leads_updated').on(t.updatedAtMs, t.id),
    ],
  )

  /**
   * How many recordings a lead has: the sum of its parts. Triggers keep them, so that they are right whoever writes a
   * recording or removes one, an instance of the version before too. Transactions that count at once have parts of their own.
   */
  const leadTotals = table(
    'lead_totals',
    {
      leadId: text('lead_id')
        .notNull()
        .references(() => leads.id, { onDelete: 'cascade' }),
      part: integer().notNull(),
      recordings: integer().notNull(),
    },
    (t) => [primaryKey({ columns: [t.leadId, t.part] })],
  )

  const callLogs = table(
    'call_logs',
    {
      id: text().primaryKey(),
      leadId: text('lead_id')
        .notNull()
        .references(() => leads.id),
      startedAtMs: integer('started_at_ms'),
      durationSeconds: real('duration_seconds'),
      direction: text({ enum: ['inbound', 'outbound'] }),
      createdAtMs: integer('created_at_ms').notNull(),
      updatedAtMs: integer('updated_at_ms').notNull(),
    },
    (t) => [
      // By the time of the call, or else by when it was told.
      index('call_logs_of_lead').on(
        t.leadId,
        sql`(case when started_at_ms is null then created_at_ms else started_at_ms end)`,
        t.id,
      ),
      index('call_logs_newest').on(
        sql`(case when started_at_ms is null then created_at_ms else started_at_ms end)`,
        t.id,
      ),
    ],
  )

  const uploads = table(
    'uploads',
    {
      id: text().primaryKey(),
      door: text({ enum: ['tus', 'legacy', 'simple'] }).notNull(),
      leadId: text('lead_id')
        .notNull()
        .references(() => leads.id),
      /** Null while a legacy client has not named it, and for the partial uploads of a concatenation. */
      callLogId: text('call_log_id').references(() => callLogs.id),
      callerId: text('caller_id').notNull(),
      callerRole: text('caller_role', { enum: ['telecaller', 'supervisor', 'service'] }).notNull(),
      /** As the client named it, base name only; null for partial uploads. */
      filename: text(),
      /** The `Upload-Metadata` header as it came, for HEAD to repeat. */
      metadata: text(),
      /** Null as long as it is deferred. */
      length: integer(),
      /**
       * Bytes from 0 that are on disk, synced, and may be acknowledged. Goes back in one case alone: a legacy client has
       * replaced a chunk by a shorter one, and the whole is put together anew.
       */
      offset: integer().notNull().default(0),
      state: text({ enum: UPLOAD_STATES }).notNull().default('receiving'),
      /** Where the recording lies once the bytes have moved, relative to the recordings directory. Decided once. */
      key: text(),
      recordingId: text('recording_id'),
      /** The `Upload-Concat` header of a partial or final upload. */
      concat: text(),
      /** The ids of a final upload's parts, in their order, with commas between them. */
      partIds: text('part_ids'),
      /** The upload that this partial one has become part of. */
      finalId: text('final_id'),
      /** The SHA-256 (hex) that the client promised; checked at finish. */
      expectedSha256: text('expected_sha256'),
      idempotencyKey: text('idempotency_key'),
      /** Hash of what was asked for under the key, to tell a repeat from a mistake. */
      idempotencyFingerprint: text('idempotency_fingerprint'),
      createdAtMs: integer('created_at_ms').notNull(),
      /** When the last byte came, and in the end when it was finished; expiry and being forgotten slide from here. */
      lastByteAtMs: integer('last_byte_at_ms').notNull(),
    },
    (t) => [
      uniqueIndex('uploads_idempotency')
        .on(t.callerId, t.leadId, t.idempotencyKey)
        .where(sql`idempotency_key is not null`),
      index('uploads_open').on(t.callerId).where(sql`state in ('receiving', 'finishing')`),
      ...(indexesTimes ? [index('uploads_by_age').on(t.state, t.lastByteAtMs)] : []),
    ],
  )

  /** Chunks of the legacy door. */
  const chunks = table(
    'chunks',
    {
      uploadId: text('upload_id')
        .notNull()
        .references(() => uploads.id, { onDelete: 'cascade' }),
      index: integer('chunk_index').notNull(),
      size: integer().notNull(),
      /** Where it stands in the upload's file, or the one stands that it replaces; null while its turn has not come. */
      position: integer(),
      /** The file that has it instead, relative to the uploads directory; null once it stands in place. */
      file: text(),
    },
    (t) => [primaryKey({ columns: [t.uploadId, t.index] })],
  )

  const recordings = table(
    'recordings',
    {
      id: text().primaryKey(),
      /** What makes a finish happen once. */
      uploadId: text('upload_id').notNull(),
      leadId: text('lead_id')
        .notNull()
        .references(() => leads.id),
      callLogId: text('call_log_id')
        .notNull()
        .references(() => callLogs.id),
      telecallerId: text('telecaller_id').notNull(),
      filename: text().notNull(),
      path: text().notNull(),
      contentType: text('content_type').notNull(),
      size: integer().notNull(),
      sha256: text().notNull(),
      durationSeconds: real('duration_seconds'),
      mediaCheck: text('media_check', { enum: ['ok', 'unrecognised'] }).notNull(),
      /** Null for recordings of before it was asked: their type must do. */
      playsInBrowsers: boolean('plays_in_browsers'),
      createdAtMs: integer('created_at_ms').notNull(),
    },
    (t) => [
      uniqueIndex('recordings_upload').on(t.uploadId),
      uniqueIndex('recordings_path').on(t.path),
      index('recordings_newest').on(t.leadId, t.createdAtMs, t.id),
      index('recordings_call_log').on(t.callLogId, t.createdAtMs, t.id),
      index('recordings_all').on(t.createdAtMs, t.id),
      index('recordings_telecaller').on(t.telecallerId, t.createdAtMs, t.id),
      index('recordings_sha256').on(t.sha256, t.createdAtMs, t.id),
    ],
  )

  /**
   * Files of deleted recordings, from the commit that deletes the row until the file is gone: whatever happens in between,
   * the sweep knows what to remove.
   */
  const tombstones = table('tombstones', {
    /** Relative to the recordings directory. */
    path: text().primaryKey(),
  })

  /** The objects that hold an upload's bytes; none where a file holds them all. An upload is not forgotten before they are gone. */
  const segments = table(
    'segments',
    {
      uploadId: text('upload_id')
        .notNull()
        .references(() => uploads.id),
      /** Of its first byte in the upload. */
      position: integer().notNull(),
      size: integer().notNull(),
      /** Of the object; used once. */
      name: text().notNull(),
    },
    (t) => [primaryKey({ columns: [t.uploadId, t.position] })],
  )

  /**
   * Keys under which a finish may have put the bytes of a recording, each of them written down before its bytes: those that
   * became no recording are known by it. An upload is not forgotten before they are gone.
   */
  const attempts = table(
    'attempts',
    {
      uploadId: text('upload_id')
        .notNull()
        .references(() => uploads.id),
      key: text().notNull(),
    },
    (t) => [primaryKey({ columns: [t.uploadId, t.key] })],
  )
  return { leads, leadTotals, callLogs, uploads, chunks, recordings, tombstones, segments, attempts }
}

export const { leads, leadTotals, callLogs, uploads, chunks, recordings, tombstones, segments, attempts } =
  tables(sqliteKit)

export type Lead = typeof leads.$inferSelect
export type CallLog = typeof callLogs.$inferSelect
export type UploadRow = typeof uploads.$inferSelect
export type ChunkRow = typeof chunks.$inferSelect
export type Recording = typeof recordings.$inferSelect
export type SegmentRow = typeof segments.$inferSelect

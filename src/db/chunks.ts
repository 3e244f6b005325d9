/**
 * The rows of an upload's chunks, of which a client may have made a hundred thousand, a step at a time.
 *
 * Nothing here reads or changes more rows at once than a step has: one statement over all of them would keep all
 * other requests waiting. A change of them all marks one row first, and goes on from there after a crash.
 */
import { setImmediate as breathe } from 'node:timers/promises'
import { and, asc, eq, gte, inArray, lt, sql } from 'drizzle-orm'
import { bind, type Database, kept, type Reading, type Statement } from './database.ts'
import { set } from './placeholders.ts'
import { type ChunkRow, chunks } from './schema.ts'

/** Rows read or changed at once; a few milliseconds' work. */
export const STEP_ROWS = 500
/** Indices that are summed up at once. */
const SUM_ROWS = 5_000

export interface ChunkSums {
  /** Chunks that stand in the upload's file. */
  placed: number
  received: number
  /** Of all chunks, in bytes. */
  bytes: number
  /** -1 when there is none. */
  highest: number
  /** Chunks in place for which another one waits. */
  replaced: number
}

const ofUpload = eq(chunks.uploadId, sql.placeholder('uploadId'))
const isIndex = eq(chunks.index, sql.placeholder('index'))
const from = gte(chunks.index, sql.placeholder('from'))

const one = kept((orm) => orm.select().from(chunks).where(and(ofUpload, isIndex)))
const step = kept((orm) =>
  orm.select().from(chunks).where(and(ofUpload, from)).orderBy(asc(chunks.index)).limit(STEP_ROWS),
)
const highest = kept((orm) =>
  orm
    .select({ index: sql<number>`coalesce(max(${chunks.index}), -1)` })
    .from(chunks)
    .where(ofUpload),
)
const sums = kept((orm) =>
  orm
    .select({
      received: sql<number>`count(*)`,
      placed: sql<number>`count(${chunks.position})`,
      replaced: sql<number>`count(case when ${chunks.position} is not null then ${chunks.file} end)`,
      bytes: sql<number>`coalesce(sum(${chunks.size}), 0)`,
    })
    .from(chunks)
    .where(and(ofUpload, from, lt(chunks.index, sql.placeholder('to')))),
)
const insertPlaced = kept((orm) =>
  orm.insert(chunks).values({
    uploadId: sql.placeholder('uploadId'),
    index: sql.placeholder('index'),
    size: sql.placeholder('size'),
    position: sql.placeholder('position'),
  }),
)
const setPlace = kept((orm) =>
  orm
    .update(chunks)
    .set({ position: set('position'), file: null })
    .where(and(ofUpload, isIndex)),
)
const setBeside = kept((orm) =>
  orm
    .insert(chunks)
    .values({
      uploadId: sql.placeholder('uploadId'),
      index: sql.placeholder('index'),
      size: sql.placeholder('size'),
      file: sql.placeholder('file'),
    })
    .onConflictDoUpdate({
      target: [chunks.uploadId, chunks.index],
      set: { size: sql`excluded.size`, file: sql`excluded.file` },
    }),
)
const deleteStep = kept((orm) =>
  orm
    .delete(chunks)
    .where(
      and(
        ofUpload,
        inArray(chunks.index, orm.select({ index: chunks.index }).from(chunks).where(ofUpload).limit(STEP_ROWS)),
      ),
    ),
)

export const chunkRow = (db: Reading, uploadId: string, index: number) => db.get(one, { uploadId, index })

/** All rows from an index on, in order, a step at a time. */
export async function* chunkRows(db: Reading, uploadId: string, fromIndex = 0): AsyncGenerator<ChunkRow[]> {
  for (let next = fromIndex; ; ) {
    const rows = await db.all(step, { uploadId, from: next })
    const last = rows.at(-1)
    if (last) yield rows
    if (!last || rows.length < STEP_ROWS) return
    next = last.index + 1
    await breathe()
  }
}

export async function sumsOf(db: Reading, uploadId: string): Promise<ChunkSums> {
  const total: ChunkSums = { placed: 0, received: 0, bytes: 0, highest: -1, replaced: 0 }
  total.highest = (await db.get(highest, { uploadId }))?.index ?? -1
  for (let from = 0; from <= total.highest; from += SUM_ROWS) {
    if (from > 0) await breathe()
    const some = await db.get(sums, { uploadId, from, to: from + SUM_ROWS })
    total.placed += some?.placed ?? 0
    total.received += some?.received ?? 0
    total.replaced += some?.replaced ?? 0
    total.bytes += some?.bytes ?? 0
  }
  return total
}

/** A chunk that has come to its place at once. */
export const newInPlace = (chunk: { uploadId: string; index: number; size: number; position: number }): Statement =>
  bind(insertPlaced, chunk)

/** A chunk that stands in the upload's file from now on. */
export const nowInPlace = (chunk: { uploadId: string; index: number; position: number }): Statement =>
  bind(setPlace, chunk)

/** A chunk that waits in a file of its own; whatever stood for its index before counts no more. */
export const nowBeside = (chunk: { uploadId: string; index: number; size: number; file: string }): Statement =>
  bind(setBeside, chunk)

/** For the transaction that ends an upload: its rows go, or the first of them, and `dropChunks` does the rest. */
export const dropStep = (uploadId: string): Statement => bind(deleteStep, { uploadId })

/** Removes all rows of an upload that needs them no more. What a crash leaves goes when the upload is forgotten. */
export async function dropChunks(db: Database, uploadId: string): Promise<void> {
  while (await db.get(step, { uploadId, from: 0 })) await db.write(dropStep(uploadId))
}

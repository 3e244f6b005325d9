/** Segments: the objects that hold an upload's bytes, in the order of their positions. Where bytes lie in files there is none. */
import { and, asc, eq, exists, gt, inArray, notInArray, sql } from 'drizzle-orm'
import { textsAmong } from './among.ts'
import { bind, kept, once, type Reading, type Statement } from './database.ts'
import { rowOf } from './placeholders.ts'
import { chunks, OPEN_STATES, type SegmentRow, segments, uploads } from './schema.ts'

/** A segment as it is written down with the offset that it has moved. */
export type NewSegment = Omit<SegmentRow, 'uploadId'>

const ofUpload = eq(segments.uploadId, sql.placeholder('uploadId'))

const list = kept((orm) =>
  orm
    .select({ position: segments.position, size: segments.size, name: segments.name })
    .from(segments)
    .where(ofUpload)
    .orderBy(asc(segments.position)),
)
const insert = kept((orm) => orm.insert(segments).values(rowOf(segments)))
const laidOut = kept((orm) =>
  orm.insert(segments).select(
    orm
      .select({
        uploadId: chunks.uploadId,
        position: sql<number>`cast(sum(${chunks.size}) over (order by ${chunks.index}) - ${chunks.size} as bigint)`.as(
          'position',
        ),
        size: chunks.size,
        name: sql<string>`${chunks.file}`.as('name'),
      })
      .from(chunks)
      .where(eq(chunks.uploadId, sql.placeholder('uploadId'))),
  ),
)
const remove = kept((orm) => orm.delete(segments).where(ofUpload))
const closed = kept((orm) =>
  orm
    .select({ id: uploads.id })
    .from(uploads)
    .where(
      and(
        gt(uploads.id, sql.placeholder('after')),
        notInArray(uploads.state, OPEN_STATES),
        exists(orm.select({ one: sql`1` }).from(segments).where(eq(segments.uploadId, uploads.id))),
      ),
    )
    .orderBy(asc(uploads.id))
    .limit(sql.placeholder('limit')),
)

export const segmentsOf = (db: Reading, uploadId: string) => db.all(list, { uploadId })

/** @throws UniqueViolation where a segment begins at that position already */
export const segmentsAdded = (uploadId: string, added: readonly NewSegment[]): Statement[] =>
  added.map((segment) => bind(insert, { uploadId, ...segment }))

/**
 * The segments of partial uploads become those of the final one that they are parts of, in their order.
 *
 * @param parts in order, each named once; `size` in bytes
 */
export const segmentsJoined = (finalId: string, parts: readonly { id: string; size: number }[]): Statement => {
  let before = 0
  const shifts = parts.map(({ id, size }) => {
    const shift = sql`when ${id} then cast(${before} as bigint)`
    before += size
    return shift
  })
  const shifted = sql`${segments.position} + case ${segments.uploadId} ${sql.join(shifts, sql` `)} end`
  const ids = parts.map(({ id }) => id)
  return bind(
    once((orm) =>
      orm.update(segments).set({ uploadId: finalId, position: shifted }).where(inArray(segments.uploadId, ids)),
    ),
  )
}

/** The chunks of an upload, in the order of their indices, become its segments. */
export const segmentsOfChunks = (uploadId: string): Statement => bind(laidOut, { uploadId })

/** Nothing names their objects any more. */
export const segmentsDropped = (uploadId: string): Statement => bind(remove, { uploadId })

/** Uploads that are over and have segments still, some of them by their id. */
export const closedWithSegments = async (db: Reading, after: string, limit: number): Promise<string[]> =>
  (await db.all(closed, { after, limit })).map(({ id }) => id)

/** Those of the names that hold bytes of an upload, as segments or as chunks that wait. */
export const namesInUse = async (db: Reading, among: readonly string[]): Promise<Set<string>> =>
  new Set([...(await textsAmong(db, segments.name, among)), ...(await textsAmong(db, chunks.file, among))])

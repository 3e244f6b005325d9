/**
 * The part of a move that is uploads: rows of those that are over, so that a repeated request is still known; and those
 * that are open with their bytes, so that their clients go on.
 *
 * Bytes that were acknowledged never change, so that what an earlier move has brought is only added to. An upload that went
 * on at the target is left as it is there.
 */
import { Readable } from 'node:stream'
import { dropChunks } from '../db/chunks.ts'
import { uploadCopied, uploadsAfter, uploadsAmong } from '../db/copying.ts'
import type { Database, Statement } from '../db/database.ts'
import type { UploadRow } from '../db/schema.ts'
import { segmentsAdded, segmentsDropped, segmentsOf } from '../db/segments.ts'
import { uploadById } from '../db/uploads.ts'
import type { Staged } from '../storage/staging.ts'
import { STEP } from '../uploads/sweep-steps.ts'
import { isOpen } from '../uploads/upload.ts'
import { byId, isSame, type Move, named, readable } from './both-ends.ts'
import { isOfChunks, moveChunks } from './move-chunks.ts'
import { type StagedBytes, sha256OfStaged, stagedBytes } from './staged-bytes.ts'

export async function moveUploads(move: Move): Promise<void> {
  const { source, target } = move
  for (let after = ''; ; ) {
    const rows = await uploadsAfter(source.db, after, STEP)
    const last = rows.at(-1)
    if (!last) return
    after = last.id
    const there = byId(
      await uploadsAmong(
        target.db,
        rows.map(({ id }) => id),
      ),
    )
    for (const row of rows) await moveOne(move, row, there.get(row.id))
  }
}

async function moveOne(move: Move, row: UploadRow, there: UploadRow | undefined): Promise<void> {
  const { source, tally } = move
  tally.uploads.seen += 1
  if (isOpen(row)) tally.uploads.open += 1
  try {
    if (there && isAhead(there, row)) throw new WentOn()
    if (await (isOpen(row) ? moveOpen(move, row, there) : moveOver(move, row, there))) tally.uploads.written += 1
  } catch (error) {
    if (error instanceof WentOn) tally.faults.push(`upload ${row.id}: it went on there since`)
    // It went on meanwhile: it is carried over once more.
    else if (!isSame(row, await uploadById(source.db, row.id))) tally.uploads.written += 1
    else tally.faults.push(`upload ${row.id}: its ${row.offset} bytes cannot be carried over: ${readable(error)}`)
  }
}

/** An upload has more at the target than at the source. */
class WentOn extends Error {
  override name = 'WentOn'
}

/** What an upload has at the target is more than what it had when it was carried over. */
function isAhead(there: UploadRow, row: UploadRow): boolean {
  if (!isOpen(there)) return isOpen(row) || there.recordingId !== row.recordingId
  // Chunks count by rows of their own, and the offset by what the home makes of them.
  if (isOfChunks(there)) return there.lastByteAtMs > row.lastByteAtMs
  // Of one that is open, the row may know less than there is.
  return !isOpen(row) && there.offset > row.offset
}

/** @returns whether anything was to be written */
async function moveOver(move: Move, row: UploadRow, there: UploadRow | undefined): Promise<boolean> {
  if (isSame(row, there)) return false
  const { target, write } = move
  if (!write) return true
  await write(...(await named(move, row)), ...uploadCopied(row), segmentsDropped(row.id))
  if (there) await dropChunks({ ...target.db, write } as Database, row.id)
  return true
}

async function moveOpen(move: Move, row: UploadRow, there: UploadRow | undefined): Promise<boolean> {
  return isOfChunks(row) ? moveChunks(move, row, there) : moveBytes(move, row, there)
}

async function moveBytes(move: Move, row: UploadRow, there: UploadRow | undefined): Promise<boolean> {
  const { source, target, write, progress } = move
  const { id } = row
  const bytes = await stagedBytes(source, row)
  const known = there && !isOfChunks(there) ? there.offset : 0
  if (known > bytes.size) throw new WentOn()
  const segments = known > 0 && target.staging.segmented ? await segmentsOf(target.db, id) : []
  const before = target.staging.of(id, segments)
  const isThere = known === 0 || ((await before.size()) ?? 0) >= known
  const copied = { ...row, offset: bytes.size }
  if (isThere && isSame(copied, there)) {
    await assertSame(bytes, before)
    return false
  }
  if (!write) return true
  const begin = isThere ? known : 0
  const staged = begin === known ? before : target.staging.of(id)
  try {
    if (bytes.size > begin) {
      const written = await staged.append(Readable.from(bytes.from(begin), { objectMode: false }), begin)
      if (written.error || written.offset !== bytes.size) throw written.error ?? new Error('its bytes ended too early')
      progress.advance(bytes.size - begin)
    }
    if (bytes.size > 0 && (await staged.sha256(bytes.size)) !== (await sha256OfStaged(bytes))) {
      throw new Error('they became others on the way')
    }
    const anew: Statement[] = begin === 0 ? [segmentsDropped(id)] : []
    const laid = segmentsAdded(id, staged.pending)
    await write(...(await named(move, row)), ...uploadCopied(copied), ...anew, ...laid)
    staged.recorded()
  } finally {
    staged.forget()
  }
  if (there && isOfChunks(there)) await dropChunks({ ...target.db, write } as Database, id)
  return true
}

/** @throws when the same number of bytes is not the same bytes */
async function assertSame(bytes: StagedBytes, there: Staged): Promise<void> {
  if (bytes.size === 0) return
  try {
    if ((await there.sha256(bytes.size)) !== (await sha256OfStaged(bytes))) throw new Error('other bytes are there')
  } finally {
    there.forget()
  }
}

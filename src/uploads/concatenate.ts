/**
 * Concatenation: one upload made of several partial ones, in one transaction (tus 1.0 § Concatenation).
 */
import { must, type Statement, UniqueViolation } from '../db/database.ts'
import { segmentsJoined } from '../db/segments.ts'
import { partsJoined, uploadAdded } from '../db/uploads.ts'
import { asServiceError, ServiceError, shuttingDown } from '../errors.ts'
import { begun, earlier, freeKey, rightsOf } from './begin.ts'
import type { Core } from './core.ts'
import type { Finished } from './finish.ts'
import { otherRequest } from './idempotency.ts'
import { change, type Owned, type Row } from './ownership.ts'
import { assertPart, partIdsOf } from './parts.ts'
import { closed, emptyUpload, hasAllBytes, newRow, tooLarge, type UploadIntent } from './upload.ts'
import { assertUsable } from './usable.ts'

type FinalIntent = UploadIntent & { partIds: readonly string[] }

/**
 * Makes one upload of several partial ones, in their order, and finishes it; the caller owns all.
 *
 * From the one transaction on, the parts take no more bytes and their bytes are the new upload's: what fails after it
 * is made good like any finish. Asked for again, with the same parts or under the same key, it gives the upload that
 * there is.
 *
 * @throws ServiceError 400, 403, 404 or 410 when a part can't be used, `empty_upload`, `too_large`,
 *   `idempotency_conflict`; as `finish`
 */
export async function concatenate(core: Core, intent: FinalIntent): Promise<Finished> {
  const known = await earlierWhole(core, intent)
  if (known) return core.finishes.finish(known.id)
  const parts = await Promise.all(intent.partIds.map((id) => core.ownership.owned(id)))
  return joinParts(core, intent, parts)
}

/**
 * The final upload that the caller made under this key. Its parts may be others: a client that never heard of it has
 * sent them all again. They must be as long as they were, where they are still known.
 */
async function earlierWhole(core: Core, intent: FinalIntent): Promise<Row | undefined> {
  const known = intent.idempotency && (await earlier(core, intent, intent.idempotency))
  if (!known) return undefined
  const parts = await Promise.all(intent.partIds.map((id) => core.ownership.find(id).catch(unlessUnknown)))
  const lengths = parts.map((row) => row?.length ?? undefined)
  if (lengths.includes(undefined)) return known
  const length = lengths.reduce<number>((sum, each) => sum + (each as number), 0)
  if (length !== known.length) throw otherRequest()
  return known
}

async function joinParts(core: Core, intent: FinalIntent, parts: readonly Owned[]): Promise<Finished> {
  const { db, space, clock, ownership, finishes, step } = core
  const ids = parts.map(({ row }) => row.id)
  for (const { row } of parts) assertPart(row, intent)
  const finalId = parts[0]?.row.finalId ?? null
  if (finalId !== null && parts.every(({ row }) => row.finalId === finalId)) {
    const earlier = await ownership.find(finalId)
    if (partIdsOf(earlier).join() === ids.join()) return finishes.finish(finalId)
  }
  const size = usableSize(core, parts)
  const row = newRow({ ...intent, length: size }, clock.now())
  Object.assign(row, { offset: size, state: 'finishing' })
  // What a copy takes beside its original; the first part is renamed.
  const copying = Math.max(0, ...parts.slice(1).map((part) => part.row.offset))
  await space.reserve({ id: row.id, length: size, offset: size - copying })
  try {
    const keyed = intent.idempotency ? [freeKey(core, intent, intent.idempotency)] : []
    const joined = must(partsJoined(ids, row.id), closed, ids.length)
    await db.write(rightsOf(intent), ...keyed, uploadAdded(row), joined, ...segmentsOfAll(core, row.id, parts))
  } catch (error) {
    space.release(row.id)
    // The same request, twice at once.
    const winner = error instanceof UniqueViolation ? await earlierWhole(core, intent) : undefined
    if (winner) return finishes.finish(winner.id)
    throw error
  }
  step('concatenated')
  for (const part of parts) {
    change(part, { state: 'concatenated', finalId: row.id })
    space.release(part.row.id)
  }
  begun(core, row)
  return finishes.finish(row.id)
}

/** Where rows name the bytes, they are the final upload's from the same moment on. */
function segmentsOfAll({ staging }: Core, finalId: string, parts: readonly Owned[]): Statement[] {
  if (!staging.segmented) return []
  return [
    segmentsJoined(
      finalId,
      parts.map(({ row }) => ({ id: row.id, size: row.offset })),
    ),
  ]
}

/** The bytes of all parts together. @throws ServiceError when one can't be used, or the whole not be kept */
function usableSize(core: Core, parts: readonly Owned[]): number {
  const { limits, isDraining } = core
  for (const part of parts) {
    assertUsable(core, part)
    if (!hasAllBytes(part.row)) throw new ServiceError('incomplete_upload', 'A part of the upload is not complete yet.')
  }
  if (isDraining()) throw shuttingDown()
  const size = parts.reduce((sum, { row }) => sum + row.offset, 0)
  if (size === 0) throw emptyUpload()
  if (size > limits.maxBytes) throw tooLarge(limits.maxBytes)
  return size
}

/** For what an unknown upload is no fault of. */
const unlessUnknown = (error: unknown): undefined => {
  if (asServiceError(error).code !== 'upload_not_found') throw error
}

/**
 * What a sweep does: of one that finds each upload's bytes in a file of its own, all of it is here.
 */
import type { Reading } from '../db/database.ts'
import { isRecorded, recordingsAfter } from '../db/recordings.ts'
import type { UploadRow } from '../db/schema.ts'
import { uploadById } from '../db/uploads.ts'
import { forgettableAfter, neededAmong, openUploadsAfter, uploadKeysAfter } from '../db/uploads-swept.ts'
import { isFinal, isPartial } from './parts.ts'
import { planSegmented } from './sweep-segments.ts'
import {
  batches,
  deletedRecordings,
  isYoung,
  leftovers,
  MOMENTARY,
  memoryOf,
  type PlanParts,
  pages,
  quarantined,
  STEP,
  type Step,
} from './sweep-steps.ts'
import { expiryOf, isOpen } from './upload.ts'

/** Everything that a sweep would do, in the order in which it would. */
export async function* planSweep(parts: PlanParts): AsyncGenerator<Step> {
  if (parts.staging.segmented) return yield* planSegmented(parts)
  yield* deletedRecordings(parts)
  yield* openUploads(parts)
  yield* stagedStrays(parts)
  yield* leftovers(parts)
  yield* quarantined(parts)
  yield* unrecordedFiles(parts)
  yield* closedUploads(parts)
  yield* lostRecordings(parts)
}

async function* openUploads({ db, staging, library, clock, limits }: PlanParts): AsyncGenerator<Step> {
  const open = pages((after) => openUploadsAfter(db, after, STEP))
  for await (const row of open) {
    const staged = await staging.of(row.id).size()
    const isThere = staged !== undefined && staged >= row.offset
    const isMoved =
      staged === undefined && row.key !== null && row.length !== null && (await library.sizeOf(row.key)) === row.length
    // The bytes of a final upload may still lie with its parts.
    const isComplete = isMoved || ((isThere || isFinal(row)) && row.offset === row.length && !isPartial(row))
    if (isComplete) yield { act: 'finish', uploadId: row.id }
    else if (expiryOf(row, limits.expiresAfterMs) <= clock.now()) {
      yield { act: 'expire', uploadId: row.id, offset: row.offset }
    } else if (!isThere && row.offset > 0 && !isFinal(row) && (await isUnchanged(db, row))) {
      yield { act: 'report', what: 'upload', uploadId: row.id, leadId: row.leadId, offset: row.offset }
    }
  }
}

/**
 * A client or another step may have ended it since its row was read, or sealed it and moved its bytes: then they are rightly
 * gone. The next sweep looks again.
 */
async function isUnchanged(db: Reading, row: UploadRow): Promise<boolean> {
  const now = await uploadById(db, row.id)
  return now?.state === row.state && now.offset === row.offset && now.length === row.length
}

/** Bytes of uploads that are over or were never there, what is beside them, and what was there for a moment only. */
async function* stagedStrays(parts: PlanParts): AsyncGenerator<Step> {
  const { db, staging } = parts
  for await (const entries of batches(staging.entries())) {
    const ids = new Set(entries.flatMap(({ uploadId }) => uploadId ?? []))
    const needed = await neededAmong(db, [...ids])
    for (const entry of entries) {
      const { name: file, bytes, uploadId } = entry
      const isNeeded = uploadId === undefined ? undefined : needed.get(uploadId)
      // An upload that is over never opens again: what a crash left of it can go at once.
      if (isNeeded || (isNeeded === undefined && isYoung(entry, parts))) continue
      const unknown = uploadId === undefined ? MOMENTARY : 'no row knows it'
      yield { act: 'remove', from: 'uploads', file, bytes, why: isNeeded === false ? 'its upload is over' : unknown }
    }
  }
}

/** Files that uploads moved to their key, and that are no recording: cancelled in between, or deleted since. */
async function* unrecordedFiles({ db, library }: PlanParts): AsyncGenerator<Step> {
  const all = pages((after) => uploadKeysAfter(db, after, STEP))
  for await (const { state, key, recordingId } of all) {
    if (isOpen({ state }) || key === null || recordingId !== null) continue
    const bytes = await library.sizeOf(key)
    if (bytes === undefined) continue
    yield { act: 'remove', from: 'recordings', what: 'key', file: key, bytes, why: 'it is no recording' }
  }
}

async function* closedUploads(parts: PlanParts): AsyncGenerator<Step> {
  const { db, library } = parts
  const memory = memoryOf(parts)
  const all = pages((after) => forgettableAfter(db, after, STEP, memory))
  for await (const { id, key, recordingId, isForgettable } of all) {
    if (!isForgettable) continue
    // The row is what accounts for a file that could not be removed yet.
    const isAccounting = key !== null && recordingId === null && (await library.sizeOf(key)) !== undefined
    if (!isAccounting) yield { act: 'forget', uploadId: id }
  }
}

async function* lostRecordings({ db, library }: PlanParts): AsyncGenerator<Step> {
  const all = pages((after) => recordingsAfter(db, after, STEP))
  for await (const { id, leadId, path: key, size } of all) {
    const found = await library.sizeOf(key)
    if (found === size || !(await isRecorded(db, id))) continue
    yield { act: 'report', what: found === undefined ? 'recording' : 'damaged', recordingId: id, leadId, path: key }
  }
}

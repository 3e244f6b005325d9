import { setImmediate as breathe } from 'node:timers/promises'
import type { Clock } from '../clock.ts'
import type { Config } from '../config/config.ts'
import type { Reading } from '../db/database.ts'
import { isRecorded, recordingsAfter } from '../db/recordings.ts'
import { tombstonesAfter } from '../db/tombstones.ts'
import { uploadById } from '../db/uploads.ts'
import { forgettableAfter, type Memory, neededAmong, openUploadsAfter, uploadKeysAfter } from '../db/uploads-swept.ts'
import type { Entry } from '../storage/entry.ts'
import type { Library } from '../storage/library.ts'
import type { Staging } from '../storage/staging.ts'
import { KEPT_MS } from './idempotency.ts'
import { isFinal, isPartial } from './parts.ts'
import { planSegmented } from './sweep-segments.ts'
import { expiryOf, isOpen } from './upload.ts'

export const STEP = 100
/** A closed upload is remembered for this many times the expiry: at least once from its end on. */
const REMEMBERED_EXPIRIES = 2

/** What is younger may be on its way to or from its row. */
export const SAFE_AGE_MS = 3_600_000
/** What an operator had set aside can be brought back for so long. */
const QUARANTINED_MS = 7 * 86_400_000

interface Removal {
  act: 'remove'
  /** As its store calls it. */
  file: string
  bytes: number
  why: string
}

/** One thing to do. */
export type Step =
  | { act: 'finish'; uploadId: string }
  | { act: 'expire'; uploadId: string; offset: number }
  | (Removal & { from: 'uploads' })
  | (Removal & { from: 'recordings'; what: 'key' | 'leftover' })
  /** What a finish that came to nothing may have put under a key of its own; the row too where no finish can be on its way. */
  | (Removal & { from: 'recordings'; what: 'attempt'; uploadId: string; isOver: boolean })
  /** Rows that name the bytes of an upload that is over. */
  | { act: 'drop'; uploadId: string }
  | { act: 'forget'; uploadId: string }
  | { act: 'report'; what: 'upload'; uploadId: string; leadId: string; offset: number }
  | { act: 'report'; what: 'recording'; recordingId: string; leadId: string; path: string }

export interface PlanParts {
  db: Reading
  staging: Pick<Staging, 'of' | 'entries' | 'segmented'>
  library: Pick<Library, 'sizeOf' | 'leftovers' | 'quarantined'>
  clock: Clock
  limits: Pick<Config['uploads'], 'expiresAfterMs'>
}

/** Since when uploads that are over must have been silent to be forgotten. */
export const memoryOf = ({ clock, limits }: Pick<PlanParts, 'clock' | 'limits'>): Memory => ({
  silentSinceMs: clock.now() - REMEMBERED_EXPIRIES * limits.expiresAfterMs,
  keyedSilentSinceMs: clock.now() - KEPT_MS - limits.expiresAfterMs,
})

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

/** Rows of a query that is ordered by an id, some at a time. */
export async function* pages<Row extends { id: string }>(
  page: (after: string) => Promise<Row[]> | Row[],
): AsyncGenerator<Row> {
  for (let after = ''; ; ) {
    const rows = await page(after)
    yield* rows
    const last = rows.at(-1)
    if (!last || rows.length < STEP) return
    after = last.id
    await breathe()
  }
}

/** Some at a time, each a question to the tables. */
export async function* batches<T>(all: AsyncIterable<T>): AsyncGenerator<T[]> {
  let batch: T[] = []
  for await (const each of all) {
    batch.push(each)
    if (batch.length < STEP) continue
    yield batch
    batch = []
    await breathe()
  }
  if (batch.length > 0) yield batch
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
    } else if (!isThere && row.offset > 0 && !isFinal(row) && (await isStillOpen(db, row.id))) {
      yield { act: 'report', what: 'upload', uploadId: row.id, leadId: row.leadId, offset: row.offset }
    }
  }
}

/** A client or another step may have ended it since its row was read: then its bytes are rightly gone. */
async function isStillOpen(db: Reading, id: string): Promise<boolean> {
  const row = await uploadById(db, id)
  return row !== undefined && isOpen(row)
}

/** What a delete has left: its process died, or the disk failed, before the file was gone. */
export async function* deletedRecordings({ db, library }: Pick<PlanParts, 'db' | 'library'>): AsyncGenerator<Step> {
  const all = pages((after) => tombstonesAfter(db, after, STEP))
  for await (const { id: file } of all) {
    const bytes = (await library.sizeOf(file)) ?? 0
    yield { act: 'remove', from: 'recordings', what: 'key', file, bytes, why: 'its recording was deleted' }
  }
}

export const MOMENTARY = 'it was there for a moment only'

export const isYoung = ({ changedAtMs }: Entry, { clock }: PlanParts) => changedAtMs > clock.now() - SAFE_AGE_MS

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

/** What a recording's way into the library has left when its process died. */
export async function* leftovers(parts: PlanParts): AsyncGenerator<Step> {
  for await (const entry of parts.library.leftovers()) {
    const { name: file, bytes } = entry
    if (isYoung(entry, parts)) continue
    yield { act: 'remove', from: 'recordings', what: 'leftover', file, bytes, why: MOMENTARY }
  }
}

/** What an operator had set aside as unknown, when its week is over. */
export async function* quarantined({ library, clock }: PlanParts): AsyncGenerator<Step> {
  for await (const { name: file, bytes, changedAtMs } of library.quarantined()) {
    if (changedAtMs > clock.now() - QUARANTINED_MS) continue
    const why = 'its week in quarantine is over'
    yield { act: 'remove', from: 'recordings', what: 'leftover', file, bytes, why }
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
  for await (const { id, leadId, path: key } of all) {
    if ((await library.sizeOf(key)) !== undefined) continue
    if (await isRecorded(db, id)) yield { act: 'report', what: 'recording', recordingId: id, leadId, path: key }
  }
}

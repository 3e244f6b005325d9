import path from 'node:path'
import { setImmediate as breathe } from 'node:timers/promises'
import type { Clock } from '../clock.ts'
import type { Config } from '../config/config.ts'
import type { Reading } from '../db/database.ts'
import { isRecorded, recordingsAfter } from '../db/recordings.ts'
import { tombstonesAfter } from '../db/tombstones.ts'
import { uploadById } from '../db/uploads.ts'
import { forgettableAfter, type Memory, neededAmong, openUploadsAfter, uploadKeysAfter } from '../db/uploads-swept.ts'
import { PROBE } from '../storage/disk/durability.ts'
import { namesIn, seen } from '../storage/disk/look.ts'
import { overdue } from '../storage/disk/quarantine.ts'
import type { Library } from '../storage/library.ts'
import { KEPT_MS } from './idempotency.ts'
import { isFinal, isPartial } from './parts.ts'
import { SAFE_AGE_MS } from './strangers.ts'
import { expiryOf, isOpen } from './upload.ts'

export const STEP = 100
/** A closed upload is remembered for this many times the expiry: at least once from its end on. */
const REMEMBERED_EXPIRIES = 2

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/** One thing to do. Files are relative to the directory that is named. */
export type Step =
  | { act: 'finish'; uploadId: string }
  | { act: 'expire'; uploadId: string; offset: number }
  | { act: 'remove'; from: 'uploads' | 'recordings'; file: string; bytes: number; why: string }
  | { act: 'forget'; uploadId: string }
  | { act: 'report'; what: 'upload'; uploadId: string; leadId: string; offset: number }
  | { act: 'report'; what: 'recording'; recordingId: string; leadId: string; path: string }

export interface PlanParts {
  db: Reading
  library: Pick<Library, 'sizeOf'>
  uploadsDir: string
  recordingsDir: string
  clock: Clock
  limits: Pick<Config['uploads'], 'expiresAfterMs'>
}

const isProbe = (name: string) => name.startsWith(PROBE)

/** Since when uploads that are over must have been silent to be forgotten. */
export const memoryOf = ({ clock, limits }: Pick<PlanParts, 'clock' | 'limits'>): Memory => ({
  silentSinceMs: clock.now() - REMEMBERED_EXPIRIES * limits.expiresAfterMs,
  keyedSilentSinceMs: clock.now() - KEPT_MS - limits.expiresAfterMs,
})

/** Everything that a sweep would do, in the order in which it would. */
export async function* planSweep(parts: PlanParts): AsyncGenerator<Step> {
  yield* deletedRecordings(parts)
  yield* openUploads(parts)
  yield* strayBytes(parts)
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

async function* openUploads({ db, library, uploadsDir, clock, limits }: PlanParts): AsyncGenerator<Step> {
  const open = pages((after) => openUploadsAfter(db, after, STEP))
  for await (const row of open) {
    const staged = (await seen(path.join(uploadsDir, row.id)))?.bytes
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
    yield { act: 'remove', from: 'recordings', file, bytes, why: 'its recording was deleted' }
  }
}

/** Files, and folders beside them, in the uploads directory whose upload is over or was never there. */
async function* strayBytes({ db, uploadsDir, recordingsDir, clock }: PlanParts): AsyncGenerator<Step> {
  const young = (changedAtMs: number) => changedAtMs > clock.now() - SAFE_AGE_MS
  for await (const names of namesIn(uploadsDir)) {
    const ours = names.filter((name) => UUID.test(name.split('.', 1)[0] ?? ''))
    const ids = [...new Set(ours.map((name) => name.split('.', 1)[0] as string))]
    const needed = await neededAmong(db, ids)
    for (const file of ours) {
      const isNeeded = needed.get(file.split('.', 1)[0] as string)
      if (isNeeded) continue
      const it = await seen(path.join(uploadsDir, file))
      // An upload that is over never opens again: what a crash left of it can go at once.
      if (it && (isNeeded === false || !young(it.changedAtMs))) {
        const why = isNeeded === false ? 'its upload is over' : 'no row knows it'
        yield { act: 'remove', from: 'uploads', file, bytes: it.bytes, why }
      }
    }
    await breathe()
  }
  for (const [from, folder, isOurs] of [
    ['recordings', path.join(recordingsDir, '.incoming'), () => true],
    ['recordings', recordingsDir, isProbe],
    ['uploads', uploadsDir, isProbe],
  ] as const) {
    for await (const names of namesIn(folder)) {
      for (const name of names.filter(isOurs)) {
        const it = await seen(path.join(folder, name))
        if (!it || young(it.changedAtMs)) continue
        const file = path.relative(from === 'uploads' ? uploadsDir : recordingsDir, path.join(folder, name))
        yield { act: 'remove', from, file, bytes: it.bytes, why: 'it was there for a moment only' }
      }
    }
  }
}

/** What an operator had set aside as unknown, when its week is over. */
async function* quarantined({ recordingsDir, clock }: PlanParts): AsyncGenerator<Step> {
  for await (const { folder, bytes } of overdue(recordingsDir, clock.now())) {
    yield { act: 'remove', from: 'recordings', file: folder, bytes, why: 'its week in quarantine is over' }
  }
}

/** Files that uploads moved to their key, and that are no recording: cancelled in between, or deleted since. */
async function* unrecordedFiles({ db, library }: PlanParts): AsyncGenerator<Step> {
  const all = pages((after) => uploadKeysAfter(db, after, STEP))
  for await (const { state, key, recordingId } of all) {
    if (isOpen({ state }) || key === null || recordingId !== null) continue
    const bytes = await library.sizeOf(key)
    if (bytes !== undefined) yield { act: 'remove', from: 'recordings', file: key, bytes, why: 'it is no recording' }
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

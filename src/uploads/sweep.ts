/**
 * The sweep: finishes what is whole, expires what has been silent for too long, removes bytes that no row knows, and
 * reports rows whose bytes are gone.
 *
 * It runs at start and on timers, in small steps, beside the requests; `planSweep` tells the same without doing it.
 * A file is looked at before its row is asked for, and is spared while it is young: what is just being made or moved is
 * never taken for a stray. In the recordings directory it removes only what a row accounts for: a database that was put
 * back from a backup knows less than the disk, and that is no reason to delete recordings.
 */
import { rm } from 'node:fs/promises'
import path from 'node:path'
import { setImmediate as breathe } from 'node:timers/promises'
import type { Clock } from '../clock.ts'
import type { Config } from '../config/config.ts'
import { dropChunks } from '../db/chunks.ts'
import type { Database, Reading } from '../db/database.ts'
import { isRecorded, recordingsAfter } from '../db/recordings.ts'
import { tombstonesAfter } from '../db/tombstones.ts'
import {
  dueUploadsAfter,
  forgettableAfter,
  type Memory,
  neededAmong,
  openUploadsAfter,
  uploadForgotten,
  uploadKeysAfter,
} from '../db/uploads-swept.ts'
import type { Events } from '../events.ts'
import { buried } from '../recordings/deletion.ts'
import { PROBE } from '../storage/disk/durability.ts'
import type { Library } from '../storage/disk/library.ts'
import { namesIn, seen } from '../storage/disk/look.ts'
import { empty, overdue, QUARANTINE } from '../storage/disk/quarantine.ts'
import { KEPT_MS } from './idempotency.ts'
import type { Ingest } from './ingest.ts'
import { isFinal, isPartial } from './parts.ts'
import { SAFE_AGE_MS } from './strangers.ts'
import { expiryOf, isOpen, isWhole } from './upload.ts'

/** How often what is whole is finished, and what is silent expired. */
const EVERY_MS = 2_000
/** How often the disk is compared with the tables. */
const COMPARE_EVERY_MS = 3_600_000
const STEP = 100
/** A closed upload is remembered for this many times the expiry: at least once from its end on. */
const REMEMBERED_EXPIRIES = 2
/** A finish that failed is tried again after this long, and ever later. */
const RETRY_AFTER_MS = 2_000
const RETRY_AFTER_AT_MOST_MS = 120_000

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
  library: Pick<Library, 'directory' | 'sizeOf'>
  uploadsDir: string
  clock: Clock
  limits: Pick<Config['uploads'], 'expiresAfterMs'>
}

const isProbe = (name: string) => name.startsWith(PROBE)

/** Since when uploads that are over must have been silent to be forgotten. */
const memoryOf = ({ clock, limits }: Pick<PlanParts, 'clock' | 'limits'>): Memory => ({
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
async function* pages<Row extends { id: string }>(
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
    } else if (!isThere && row.offset > 0 && !isFinal(row)) {
      yield { act: 'report', what: 'upload', uploadId: row.id, leadId: row.leadId, offset: row.offset }
    }
  }
}

/** What a delete has left: its process died, or the disk failed, before the file was gone. */
async function* deletedRecordings({ db, library }: Pick<PlanParts, 'db' | 'library'>): AsyncGenerator<Step> {
  const all = pages((after) => tombstonesAfter(db, after, STEP))
  for await (const { id: file } of all) {
    const bytes = (await library.sizeOf(file)) ?? 0
    yield { act: 'remove', from: 'recordings', file, bytes, why: 'its recording was deleted' }
  }
}

/** Files, and folders beside them, in the uploads directory whose upload is over or was never there. */
async function* strayBytes({ db, library, uploadsDir, clock }: PlanParts): AsyncGenerator<Step> {
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
  const { directory } = library
  for (const [from, folder, isOurs] of [
    ['recordings', path.join(directory, '.incoming'), () => true],
    ['recordings', directory, isProbe],
    ['uploads', uploadsDir, isProbe],
  ] as const) {
    for await (const names of namesIn(folder)) {
      for (const name of names.filter(isOurs)) {
        const it = await seen(path.join(folder, name))
        if (!it || young(it.changedAtMs)) continue
        const file = path.relative(from === 'uploads' ? uploadsDir : directory, path.join(folder, name))
        yield { act: 'remove', from, file, bytes: it.bytes, why: 'it was there for a moment only' }
      }
    }
  }
}

/** What an operator had set aside as unknown, when its week is over. */
async function* quarantined({ library, clock }: PlanParts): AsyncGenerator<Step> {
  for await (const { folder, bytes } of overdue(library.directory, clock.now())) {
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

export interface Sweep {
  /** Finishes what is whole and expires what is silent. */
  run(): Promise<void>
  /** All of it. @param onStep told of each step that was done */
  runWhole(onStep?: (step: Step) => void): Promise<void>
  /** Begins with all of it, and goes on on timers. */
  start(): void
  stop(): Promise<void>
}

interface Parts extends PlanParts {
  db: Database
  library: Library
  /** Uploads of forms that were open before the first request: they ended with the process that served it. */
  abandoned: readonly string[]
  ingest: Ingest
  events: Events
}

export function createSweep(parts: Parts): Sweep {
  const { db, library, ingest, events, clock, limits, uploadsDir } = parts
  const failed = new Map<string, { tries: number; againAtMs: number }>()
  let timer: NodeJS.Timeout | undefined
  let running: Promise<void> = Promise.resolve()
  let comparedAtMs = Number.NEGATIVE_INFINITY
  let stopped = false

  /** One upload's fault is no reason to leave the others. */
  async function each(ids: Iterable<string>, work: (id: string) => Promise<unknown>): Promise<void> {
    for (const id of ids) {
      if (stopped) return
      await work(id).catch((error) => events.sweepFailed({ err: error }))
    }
  }

  /** Of an earlier process: its client may have left when all was here. */
  const endLeft = async (id: string) => (isWhole(await ingest.find(id)) ? ingest.finish(id) : ingest.abandon(id))

  /** One that fails over and over is left for longer and longer. */
  async function finish(id: string): Promise<void> {
    const before = failed.get(id)
    if (before && before.againAtMs > performance.now()) return
    failed.delete(id)
    try {
      await ingest.finish(id)
    } catch {
      // Told by its own event.
      const tries = (before?.tries ?? 0) + 1
      const waitMs = Math.min(RETRY_AFTER_MS * 2 ** (tries - 1), RETRY_AFTER_AT_MOST_MS)
      failed.set(id, { tries, againAtMs: performance.now() + waitMs })
    }
  }

  async function forget(id: string): Promise<boolean> {
    // With the row would go what a crash has left of its chunks, all at once.
    await dropChunks(db, id)
    const [changes] = await db.write(uploadForgotten(id, memoryOf(parts)))
    return (changes ?? 0) > 0
  }

  async function remove(step: Step & { act: 'remove' }): Promise<void> {
    if (step.from === 'uploads') await rm(path.join(uploadsDir, step.file), { recursive: true, force: true })
    else if (step.file.startsWith(`${QUARANTINE}/`)) await empty(library.directory, step.file)
    else await buried({ db, library }, step.file)
    events.strayRemoved({ from: step.from, file: step.file, bytes: step.bytes })
  }

  /** Whether it came to anything. */
  async function take(step: Step): Promise<boolean> {
    switch (step.act) {
      case 'finish':
        await finish(step.uploadId)
        // Refused for good, and silent for too long: only the core knows.
        return !(await ingest.expire(step.uploadId))
      case 'expire':
        return ingest.expire(step.uploadId)
      case 'remove':
        await remove(step)
        return true
      case 'forget':
        return forget(step.uploadId)
      case 'report':
        if (step.what === 'upload') events.uploadBytesMissing(step)
        else if (step.what === 'recording') events.recordingFileMissing(step)
        return true
    }
  }

  async function* due(): AsyncGenerator<Step> {
    yield* deletedRecordings(parts)
    for (const uploadId of [...ingest.unfinished]) yield { act: 'finish', uploadId }
    const patience = { nowMs: clock.now(), expiresAfterMs: limits.expiresAfterMs }
    const open = pages((after) => dueUploadsAfter(db, after, STEP, patience))
    for await (const row of open) {
      if (isWhole(row)) yield { act: 'finish', uploadId: row.id }
      else yield { act: 'expire', uploadId: row.id, offset: row.offset }
    }
  }

  async function through(steps: AsyncGenerator<Step>, onStep: (step: Step) => void = () => {}): Promise<void> {
    for await (const step of steps) {
      if (stopped) return
      try {
        if (await take(step)) onStep(step)
      } catch (error) {
        // One upload's fault is no reason to leave the others.
        events.sweepFailed({ err: error })
      }
    }
  }

  /** One pass at a time. */
  function queue(pass: () => Promise<void>): Promise<void> {
    running = running.catch(() => {}).then(pass)
    return running
  }

  const runWhole: Sweep['runWhole'] = (onStep) =>
    queue(async () => {
      await ingest.followClock()
      const longAgoMs = performance.now() - RETRY_AFTER_AT_MOST_MS
      for (const [id, { againAtMs }] of failed) if (againAtMs < longAgoMs) failed.delete(id)
      return through(planSweep(parts), onStep)
    })
  const run: Sweep['run'] = () =>
    queue(async () => {
      await ingest.followClock()
      await each([...ingest.abandoned], (id) => ingest.abandon(id))
      await through(due())
    })

  function next(): Promise<void> {
    if (performance.now() - comparedAtMs < COMPARE_EVERY_MS) return run()
    comparedAtMs = performance.now()
    return runWhole()
  }

  function again(): void {
    next()
      .catch((error) => events.sweepFailed({ err: error }))
      .finally(() => {
        if (!stopped) timer = setTimeout(again, EVERY_MS).unref()
      })
  }

  return {
    run,
    runWhole,
    start() {
      queue(() => each(parts.abandoned, endLeft)).catch((error) => events.sweepFailed({ err: error }))
      again()
    },
    async stop() {
      stopped = true
      clearTimeout(timer)
      await running.catch(() => {})
    },
  }
}

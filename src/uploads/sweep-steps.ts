/**
 * What the plans of a sweep are made of, whatever home the bytes have.
 */
import { setImmediate as breathe } from 'node:timers/promises'
import type { Clock } from '../clock.ts'
import type { Config } from '../config/config.ts'
import type { Reading } from '../db/database.ts'
import { tombstonesAfter } from '../db/tombstones.ts'
import type { Memory } from '../db/uploads-swept.ts'
import type { Entry } from '../storage/entry.ts'
import type { Library } from '../storage/library.ts'
import type { Staging } from '../storage/staging.ts'
import { KEPT_MS } from './idempotency.ts'

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
  /** Of a recording whose file is gone, or not as long as it was stored. */
  | { act: 'report'; what: 'recording' | 'damaged'; recordingId: string; leadId: string; path: string }

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

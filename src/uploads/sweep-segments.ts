/**
 * What a sweep does where rows name the objects that hold bytes, and several instances write to one store.
 *
 * The tables say what is there. The objects on their way, which are few, are listed and compared with them; the recordings are
 * not, since there are millions: `verify` does that when an operator asks for it.
 */
import { attemptsInVain } from '../db/attempts.ts'
import { closedWithSegments, namesInUse } from '../db/segments.ts'
import { forgettableAfter, neededAmong, openUploadsAfter } from '../db/uploads-swept.ts'
import { isPartial } from './parts.ts'
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
  SAFE_AGE_MS,
  STEP,
  type Step,
} from './sweep-steps.ts'
import { expiryOf, hasAllBytes } from './upload.ts'

export async function* planSegmented(parts: PlanParts): AsyncGenerator<Step> {
  yield* deletedRecordings(parts)
  yield* openUploads(parts)
  yield* strayObjects(parts)
  yield* pastAttempts(parts)
  yield* pastSegments(parts)
  yield* leftovers(parts)
  yield* quarantined(parts)
  yield* closedUploads(parts)
}

async function* openUploads({ db, clock, limits }: PlanParts): AsyncGenerator<Step> {
  for await (const row of pages((after) => openUploadsAfter(db, after, STEP))) {
    if (hasAllBytes(row) && !isPartial(row)) yield { act: 'finish', uploadId: row.id }
    else if (expiryOf(row, limits.expiresAfterMs) <= clock.now()) {
      yield { act: 'expire', uploadId: row.id, offset: row.offset }
    }
  }
}

/** Objects that no row names: of uploads that are over at once, of the others when they are too old to be on their way. */
async function* strayObjects(parts: PlanParts): AsyncGenerator<Step> {
  const { db, staging } = parts
  for await (const entries of batches(staging.entries())) {
    const needed = await neededAmong(db, [...new Set(entries.flatMap(({ uploadId }) => uploadId ?? []))])
    const isOver = (id: string | undefined) => id !== undefined && needed.get(id) === false
    const named = await namesInUse(
      db,
      entries.filter(({ uploadId }) => !isOver(uploadId)).map(({ name }) => name),
    )
    for (const entry of entries) {
      const { name: file, bytes, uploadId } = entry
      if (named.has(file) || (!isOver(uploadId) && isYoung(entry, parts))) continue
      const why = isOver(uploadId) ? 'its upload is over' : uploadId === undefined ? MOMENTARY : 'no row names it'
      yield { act: 'remove', from: 'uploads', file, bytes, why }
    }
  }
}

/** Of finishes that came to nothing. One that wakes up late finds its row still there, and is swept again. */
async function* pastAttempts({ db, library, clock }: PlanParts): AsyncGenerator<Step> {
  let after = { uploadId: '', key: '' }
  for (;;) {
    const attempts = await attemptsInVain(db, after, STEP)
    for (const { uploadId, key: file, lastByteAtMs } of attempts) {
      const isOver = lastByteAtMs <= clock.now() - SAFE_AGE_MS
      const bytes = await library.sizeOf(file)
      if (bytes === undefined && !isOver) continue
      const why = 'its finish came to nothing'
      yield { act: 'remove', from: 'recordings', what: 'attempt', file, bytes: bytes ?? 0, why, uploadId, isOver }
    }
    const last = attempts.at(-1)
    if (!last || attempts.length < STEP) return
    after = last
  }
}

async function* pastSegments({ db }: PlanParts): AsyncGenerator<Step> {
  const all = pages(async (after) => (await closedWithSegments(db, after, STEP)).map((id) => ({ id })))
  for await (const { id } of all) yield { act: 'drop', uploadId: id }
}

async function* closedUploads(parts: PlanParts): AsyncGenerator<Step> {
  const memory = memoryOf(parts)
  const all = pages((after) => forgettableAfter(parts.db, after, STEP, memory))
  for await (const { id, isForgettable } of all) if (isForgettable) yield { act: 'forget', uploadId: id }
}

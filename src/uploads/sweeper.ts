/**
 * The sweeper: finishes what is whole, expires what has been silent for too long, removes bytes that no row knows, and
 * reports rows whose bytes are gone.
 *
 * It runs at start and on timers, in small steps, beside the requests. Of several instances one sweeps; what only its own
 * memory knows, each looks after by itself. Every step has its condition in its statement, so that two sweeps at once, or one
 * that wakes up late, do no harm.
 */
import { attemptGone } from '../db/attempts.ts'
import { dropChunks } from '../db/chunks.ts'
import type { Claims } from '../db/claims.ts'
import type { Database } from '../db/database.ts'
import { segmentsDropped } from '../db/segments.ts'
import { dueUploadsAfter, uploadForgotten } from '../db/uploads-swept.ts'
import { asServiceError, isRefusal } from '../errors.ts'
import type { Events } from '../events.ts'
import { buried } from '../recordings/deletion.ts'
import type { Library } from '../storage/library.ts'
import type { Staging } from '../storage/staging.ts'
import type { Ingest } from './ingest.ts'
import type { LeftForms } from './left-forms.ts'
import { planSweep } from './sweep-plan.ts'
import { deletedRecordings, memoryOf, type PlanParts, pages, STEP, type Step } from './sweep-steps.ts'
import { isWhole } from './upload.ts'

/** How often what is whole is finished, and what is silent expired. */
const EVERY_MS = 2_000
/** How often the disk is compared with the tables. */
const COMPARE_EVERY_MS = 3_600_000
/** A finish that failed is tried again after this long, and ever later. */
const RETRY_AFTER_MS = 2_000
const RETRY_AFTER_AT_MOST_MS = 120_000

interface Parts extends PlanParts {
  db: Database
  staging: Staging
  library: Library
  claims: Claims
  leftForms: LeftForms
  ingest: Ingest
  events: Events
}

export class Sweeper {
  readonly #parts: Parts
  readonly #failed = new Map<string, { tries: number; againAtMs: number; isRefused: boolean }>()
  #timer: NodeJS.Timeout | undefined
  #running: Promise<void> = Promise.resolve()
  #comparedAtMs = Number.NEGATIVE_INFINITY
  #stopped = false

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /** Finishes what is whole and expires what is silent. */
  run(): Promise<void> {
    return this.#queue(async () => {
      await this.#own(true)
      await this.#endLeftForms()
      await this.#through(this.#due())
    })
  }

  /** All of it. @param onStep told of each step that was done */
  runWhole(onStep?: (step: Step) => void): Promise<void> {
    return this.#queue(async () => {
      await this.#own(true)
      await this.#endLeftForms()
      const longAgoMs = performance.now() - RETRY_AFTER_AT_MOST_MS
      for (const [id, { againAtMs }] of this.#failed) if (againAtMs < longAgoMs) this.#failed.delete(id)
      return this.#through(planSweep(this.#parts), onStep)
    })
  }

  /** Begins with all of it, and goes on on timers. */
  start(): void {
    this.#again()
  }

  async stop(): Promise<void> {
    this.#stopped = true
    clearTimeout(this.#timer)
    await this.#running.catch(() => {})
  }

  /** What this process alone knows of: how its clock went, and what it could not end or finish when it was asked to. */
  async #own(isLeading: boolean): Promise<void> {
    const { ingest } = this.#parts
    await ingest.followClock(isLeading)
    await this.#each([...ingest.abandoned], (id) => ingest.abandon(id))
    await this.#through(this.#unfinished())
  }

  /** One upload's fault is no reason to leave the others. */
  async #each(ids: Iterable<string>, work: (id: string) => Promise<unknown>): Promise<void> {
    for (const id of ids) {
      if (this.#stopped) return
      await work(id).catch((error) => this.#parts.events.sweepFailed({ err: error }))
    }
  }

  async #endLeftForms(): Promise<void> {
    await this.#each(await this.#parts.leftForms.take(), (id) => this.#endLeft(id))
  }

  /** Its process is gone: its client may have left when all was here. */
  async #endLeft(id: string): Promise<void> {
    const { ingest } = this.#parts
    if (isWhole(await ingest.find(id))) await ingest.finish(id)
    else await ingest.abandon(id)
  }

  /** One that fails over and over is left for longer and longer. @returns whether it is refused for good as things stand */
  async #finish(id: string): Promise<boolean> {
    const before = this.#failed.get(id)
    if (before && before.againAtMs > performance.now()) return before.isRefused
    this.#failed.delete(id)
    try {
      await this.#parts.ingest.finish(id)
      return false
    } catch (error) {
      // Told by its own event.
      const told = asServiceError(error)
      // What is being ended just now is no refusal.
      const isRefused = isRefusal(told) && told.code !== 'upload_closed'
      const tries = (before?.tries ?? 0) + 1
      const waitMs = Math.min(RETRY_AFTER_MS * 2 ** (tries - 1), RETRY_AFTER_AT_MOST_MS)
      this.#failed.set(id, { tries, againAtMs: performance.now() + waitMs, isRefused })
      return isRefused
    }
  }

  async #forget(id: string): Promise<boolean> {
    const { db } = this.#parts
    // With the row would go what a crash has left of its chunks, all at once.
    await dropChunks(db, id)
    const [changes] = await db.write(uploadForgotten(id, memoryOf(this.#parts)))
    return (changes ?? 0) > 0
  }

  async #remove(step: Step & { act: 'remove' }): Promise<void> {
    const { db, staging, library, events } = this.#parts
    if (step.from === 'uploads') await staging.remove(step.file)
    else if (step.what === 'leftover') await library.discard(step.file)
    else if (step.what === 'attempt') await this.#removeAttempt(step)
    else await buried({ db, library }, step.file)
    events.strayRemoved({ from: step.from, file: step.file, bytes: step.bytes })
  }

  async #removeAttempt({ file: key, uploadId, isOver }: Extract<Step, { what: 'attempt' }>): Promise<void> {
    const { db, library } = this.#parts
    await library.remove(key)
    if (isOver) await db.write(attemptGone({ uploadId, key }))
  }

  /** Whether it came to anything. */
  async #take(step: Step): Promise<boolean> {
    const { ingest, events } = this.#parts
    switch (step.act) {
      case 'finish':
        // Refused, and silent for too long, it ends: only the core knows.
        return !(await ingest.expire(step.uploadId, await this.#finish(step.uploadId)))
      case 'expire':
        return ingest.expire(step.uploadId)
      case 'remove':
        await this.#remove(step)
        return true
      case 'forget':
        return this.#forget(step.uploadId)
      case 'drop':
        await this.#parts.db.write(segmentsDropped(step.uploadId))
        return true
      case 'report':
        if (step.what === 'upload') events.uploadBytesMissing(step)
        else if (step.what === 'recording') events.recordingFileMissing(step)
        else if (step.what === 'damaged') events.recordingFileDamaged(step)
        return true
    }
  }

  async *#unfinished(): AsyncGenerator<Step> {
    for (const uploadId of [...this.#parts.ingest.unfinished]) yield { act: 'finish', uploadId }
  }

  async *#due(): AsyncGenerator<Step> {
    const { db, clock, limits } = this.#parts
    yield* deletedRecordings(this.#parts)
    const patience = { nowMs: clock.now(), expiresAfterMs: limits.expiresAfterMs }
    const open = pages((after) => dueUploadsAfter(db, after, STEP, patience))
    for await (const row of open) {
      if (isWhole(row)) yield { act: 'finish', uploadId: row.id }
      else yield { act: 'expire', uploadId: row.id, offset: row.offset }
    }
  }

  async #through(steps: AsyncGenerator<Step>, onStep: (step: Step) => void = () => {}): Promise<void> {
    for await (const step of steps) {
      if (this.#stopped) return
      try {
        if (await this.#take(step)) onStep(step)
      } catch (error) {
        // One upload's fault is no reason to leave the others.
        this.#parts.events.sweepFailed({ err: error })
      }
    }
  }

  /** One pass at a time. */
  #queue(pass: () => Promise<void>): Promise<void> {
    this.#running = this.#running.catch(() => {}).then(pass)
    return this.#running
  }

  async #next(): Promise<void> {
    if (!(await this.#parts.claims.leads('sweep'))) return this.#queue(() => this.#own(false))
    if (performance.now() - this.#comparedAtMs < COMPARE_EVERY_MS) return this.run()
    this.#comparedAtMs = performance.now()
    return this.runWhole()
  }

  #again(): void {
    this.#next()
      .catch((error) => this.#parts.events.sweepFailed({ err: error }))
      .finally(() => {
        if (!this.#stopped) this.#timer = setTimeout(() => this.#again(), EVERY_MS).unref()
      })
  }
}

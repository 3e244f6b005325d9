/**
 * The sweep: finishes what is whole and was not finished, and expires what has been silent for too long.
 *
 * Runs at start and on a timer, in small steps; never touches what is recorded.
 */
import { and, eq, inArray, lt, sql } from 'drizzle-orm'
import type { Clock } from '../clock.ts'
import type { Config } from '../config.ts'
import type { Database } from '../db/database.ts'
import { uploads } from '../db/schema.ts'
import type { Ingest } from './ingest.ts'

const EVERY_MS = 2_000
const STEP = 100

export interface Sweep {
  /** One pass; resolves when it is through. */
  run(): Promise<void>
  start(): void
  stop(): Promise<void>
}

export function createSweep({
  db,
  ingest,
  clock,
  limits,
}: {
  db: Database
  ingest: Ingest
  clock: Clock
  limits: Config['uploads']
}): Sweep {
  let timer: NodeJS.Timeout | undefined
  let running: Promise<void> | undefined

  async function finishWhole(): Promise<void> {
    const whole = await db.orm
      .select({ id: uploads.id })
      .from(uploads)
      .where(
        and(
          inArray(uploads.state, ['receiving', 'finishing']),
          sql`${uploads.length} = ${uploads.offset}`,
          sql`${uploads.concat} is not 'partial'`,
        ),
      )
      .limit(STEP)
      .all()
    for (const id of new Set([...ingest.unfinished, ...whole.map((row) => row.id)])) {
      await ingest.finish(id).catch(() => {}) // told by its own event
    }
  }

  async function expireSilent(): Promise<void> {
    const silent = await db.orm
      .select({ id: uploads.id })
      .from(uploads)
      .where(and(eq(uploads.state, 'receiving'), lt(uploads.lastByteAtMs, clock.now() - limits.expiresAfterMs)))
      .limit(STEP)
      .all()
    for (const { id } of silent) await ingest.expire(id)
  }

  async function run(): Promise<void> {
    running ??= (async () => {
      await finishWhole()
      await expireSilent()
    })().finally(() => {
      running = undefined
    })
    return running
  }

  return {
    run,
    start() {
      const again = () => {
        timer = setTimeout(
          () =>
            run()
              .catch(() => {})
              .finally(() => timer && again()),
          EVERY_MS,
        )
        timer.unref()
      }
      run()
        .catch(() => {})
        .finally(again)
    },
    async stop() {
      clearTimeout(timer)
      timer = undefined
      await running?.catch(() => {})
    },
  }
}

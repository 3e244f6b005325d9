/**
 * The time of instances that share a database: the database's. Their own clocks differ, and times that one of them has
 * stored are compared by the others.
 *
 * It is asked for now and then, and goes on by itself in between, as time passes. An answer says in which interval the
 * database's clock lies, as wide as its way was long; ours moves into it, and no further.
 */
import type { Clock } from '../../clock.ts'
import type { PostgresDatabase } from './postgres.ts'

const ASK_EVERY_MS = 10_000
export const NOW = 'select extract(epoch from clock_timestamp()) * 1000 as now'

export interface SharedClock extends Clock {
  /** Asks the database. */
  set(): Promise<void>
  close(): void
}

/** @param passed milliseconds that have passed since some moment */
export async function openClock(
  db: Pick<PostgresDatabase, 'query'>,
  passed: () => number = () => performance.now(),
): Promise<SharedClock> {
  /** Between what has passed here and the database's clock. */
  let aheadMs: number | undefined

  async function set(): Promise<void> {
    const askedMs = passed()
    const { rows } = await db.query({ text: NOW, values: [] })
    const nowMs = Number(rows[0]?.now)
    const [least, most] = [nowMs - passed(), nowMs - askedMs]
    aheadMs = Math.min(Math.max(aheadMs ?? (least + most) / 2, least), most)
  }

  await set()
  // Without an answer it goes on as it went.
  const timer = setInterval(() => set().catch(() => {}), ASK_EVERY_MS).unref()
  return {
    now: () => Math.round((aheadMs as number) + passed()),
    passed,
    set,
    close: () => clearInterval(timer),
  }
}

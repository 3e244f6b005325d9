/**
 * The database: opening, migrations, and the one way to write.
 *
 * Reads go through `orm` and are awaited. Writes go through `write`: statements that belong together form one
 * transaction, and transactions that wait at the same time share one commit, so that many uploads pay for one sync.
 * A caller hears of its write only when it is durable (WAL with `synchronous=FULL`).
 *
 * A database locked by another process never blocks the event loop for long: SQLite's own wait is short, and the
 * write is tried again from a timer until its deadline.
 */

import { existsSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import BetterSqlite3 from 'better-sqlite3'
import { type BetterSQLite3Database, drizzle } from 'drizzle-orm/better-sqlite3'
import { migrate } from 'drizzle-orm/better-sqlite3/migrator'
import { passing } from '../errors.ts'
import * as schema from './schema.ts'

/** How long SQLite itself may wait for a lock: the event loop stands still meanwhile. */
const BUSY_TIMEOUT_MS = 5
/** How long a write is tried again before its caller is told that the database is busy. */
const WRITE_DEADLINE_MS = 4_000
const RETRY_EVERY_MS = 40

/** One statement of a transaction; Drizzle's insert, update and delete builders are such. */
export interface Statement {
  run(): { changes: number }
}

export interface Database {
  readonly orm: BetterSQLite3Database<typeof schema>
  /**
   * Runs the statements as one transaction, all or none; resolves when they are durable.
   *
   * @returns how many rows each statement changed
   * @throws what a statement throws, or ServiceError `busy` when the lock could not be had in time
   */
  write(...statements: Statement[]): Promise<number[]>
  /** Rejects when the database does not answer. */
  ping(): Promise<void>
  /** Copies the database, consistent in itself, while it is in use. */
  backup(file: string): Promise<void>
  /** Moves what the write-ahead log holds into the database file. */
  checkpoint(): Promise<void>
  close(): Promise<void>
}

/** A prepared statement with its values, for `write`. */
export const bind = <V extends Record<string, unknown>>(
  prepared: { run(values: V): { changes: number } },
  values: V,
): Statement => ({ run: () => prepared.run(values) })

/** A statement that must change at least `rows` rows; otherwise `error` is thrown and the whole transaction undone. */
export const must = (statement: Statement, error: () => Error, rows = 1): Statement => ({
  run() {
    const result = statement.run()
    if (result.changes < rows) throw error()
    return result
  },
})

/** A condition of a transaction: where the query's row does not pass, `error` is thrown and the transaction undone. */
export const holds = <R>(query: () => unknown, passes: (row: R) => boolean, error: () => Error): Statement => ({
  run() {
    if (!passes(query() as R)) throw error()
    return { changes: 0 }
  },
})

/** A statement with RETURNING, which hands over the row that it wrote; none counts as nothing changed. */
export const returning = <R>(statement: { get(): R | undefined }, take: (row: R) => void): Statement => ({
  run() {
    const row = statement.get()
    if (row !== undefined) take(row)
    return { changes: row === undefined ? 0 : 1 }
  },
})

/** A query that is prepared at its first use with a database, and not again. */
export function preparedOnce<P>(prepare: (orm: Database['orm']) => P): (db: Pick<Database, 'orm'>) => P {
  const known = new WeakMap<Database['orm'], { query: P }>()
  return ({ orm }) => {
    const made = known.get(orm) ?? { query: prepare(orm) }
    known.set(orm, made)
    return made.query
  }
}

interface Job {
  statements: Statement[]
  deadlineMs: number
  resolve(changes: number[]): void
  reject(error: unknown): void
}

const codeOf = (error: unknown): string => {
  for (let e = error; e instanceof Error; e = e.cause) {
    const { code } = e as { code?: unknown }
    if (typeof code === 'string' && code.startsWith('SQLITE_')) return code
  }
  return ''
}
const isBusy = (error: unknown) => /^SQLITE_(BUSY|LOCKED)/.test(codeOf(error))

/** True for a row that exists already under a unique key. */
export const isUniqueViolation = (error: unknown) => /^SQLITE_CONSTRAINT_(UNIQUE|PRIMARYKEY)$/.test(codeOf(error))

const migrationsFolder = fileURLToPath(new URL('../../drizzle/sqlite', import.meta.url))

export type ReadingDatabase = Pick<Database, 'orm' | 'backup' | 'close'>

/** Opens the database file to read it, also while a server uses it. @throws when there is none */
export function openForReading(file: string): ReadingDatabase {
  if (!existsSync(file)) {
    throw new Error(
      `there is no database at ${file}; a command needs the settings of its server, here RECORDINGS_DATA_DIR`,
    )
  }
  const sqlite = new BetterSqlite3(file, { readonly: true, fileMustExist: true, timeout: 10_000 })
  return {
    orm: drizzle(sqlite, { schema }),
    backup: (target) => copyWhole(sqlite, target),
    close: async () => {
      sqlite.close()
    },
  }
}

/** In one step: in smaller ones it would begin again with every write of the server, and never end. */
async function copyWhole(sqlite: BetterSqlite3.Database, target: string): Promise<void> {
  await sqlite.backup(target, { progress: () => 2 ** 31 - 1 })
}

/** Opens the database file, creates it where it is missing (mode 0600), and brings its tables up to date. */
export async function openDatabase(file: string): Promise<Database> {
  await (await open(file, 'a', 0o600)).close()
  const sqlite = new BetterSqlite3(file, { timeout: 10_000 })
  sqlite.pragma('journal_mode = WAL')
  sqlite.pragma('synchronous = FULL')
  sqlite.pragma('foreign_keys = ON')
  const orm = drizzle(sqlite, { schema })
  migrate(orm, { migrationsFolder })
  sqlite.pragma(`busy_timeout = ${BUSY_TIMEOUT_MS}`)

  const begin = sqlite.prepare('BEGIN IMMEDIATE')
  const commit = sqlite.prepare('COMMIT')
  const rollback = sqlite.prepare('ROLLBACK')
  const savepoint = sqlite.prepare('SAVEPOINT job')
  const release = sqlite.prepare('RELEASE job')
  const rollbackTo = sqlite.prepare('ROLLBACK TO job')

  let queue: Job[] = []
  let scheduled = false

  const schedule = (afterMs = 0) => {
    if (scheduled) return
    scheduled = true
    if (afterMs === 0) setImmediate(flush)
    else setTimeout(flush, afterMs)
  }

  /** Puts busy jobs back in front of the queue; those past their deadline are told. */
  const later = (jobs: Job[], cause: unknown) => {
    const now = performance.now()
    const patient = jobs.filter((job) => job.deadlineMs > now)
    for (const job of jobs) {
      if (job.deadlineMs <= now) job.reject(passing('busy', 'The database is busy; try again shortly.', cause))
    }
    queue = [...patient, ...queue]
    if (queue.length > 0) schedule(RETRY_EVERY_MS)
  }

  /** Runs one job inside the open transaction; undoes just this job when it throws. */
  function runJob(job: Job, alone: boolean): { changes: number[] } | { error: unknown } {
    try {
      if (!alone) savepoint.run()
      const changes = job.statements.map((statement) => statement.run().changes)
      if (!alone) release.run()
      return { changes }
    } catch (error) {
      if (!alone && sqlite.inTransaction) {
        rollbackTo.run()
        release.run()
      }
      return { error }
    }
  }

  function flush() {
    scheduled = false
    const jobs = queue
    queue = []
    if (jobs.length === 0) return
    try {
      begin.run()
    } catch (error) {
      if (isBusy(error)) later(jobs, error)
      else for (const job of jobs) job.reject(error)
      return
    }
    const alone = jobs.length === 1
    const outcomes: ReturnType<typeof runJob>[] = []
    for (const job of jobs) {
      const outcome = runJob(job, alone)
      outcomes.push(outcome)
      if (!sqlite.inTransaction) {
        // A full disk or a failing one undoes everybody's work, not just that of the job it struck: the others run again.
        job.reject('error' in outcome ? outcome.error : new Error('the transaction ended by itself'))
        queue = [...jobs.filter((other) => other !== job), ...queue]
        if (queue.length > 0) schedule()
        return
      }
    }
    try {
      const first = outcomes[0]
      if (alone && first && 'error' in first) {
        if (sqlite.inTransaction) rollback.run()
      } else {
        commit.run()
      }
    } catch (error) {
      if (sqlite.inTransaction) rollback.run()
      if (isBusy(error)) later(jobs, error)
      else for (const job of jobs) job.reject(error)
      return
    }
    for (const [i, job] of jobs.entries()) {
      const outcome = outcomes[i]
      if (outcome && 'changes' in outcome) job.resolve(outcome.changes)
      else job.reject(outcome?.error)
    }
  }

  const close = async () => {
    while (queue.length > 0) await new Promise((done) => setTimeout(done, RETRY_EVERY_MS))
    try {
      sqlite.pragma('wal_checkpoint(TRUNCATE)')
    } finally {
      sqlite.close()
    }
  }

  return {
    orm,
    write: (...statements) =>
      new Promise((resolve, reject) => {
        queue.push({ statements, deadlineMs: performance.now() + WRITE_DEADLINE_MS, resolve, reject })
        schedule()
      }),
    ping: async () => {
      sqlite.prepare('SELECT count(*) FROM leads WHERE id IS NULL').get()
    },
    backup: (target) => copyWhole(sqlite, target),
    checkpoint: async () => {
      sqlite.pragma('wal_checkpoint(TRUNCATE)')
    },
    close,
  }
}

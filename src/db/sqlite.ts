/**
 * SQLite: opening, migrations, and the one way to write.
 *
 * Transactions that wait at the same time share one commit, so that many uploads pay for one sync. A caller hears of its
 * write only when it is durable (WAL with `synchronous=FULL`).
 *
 * A database locked by another process never blocks the event loop for long: SQLite's own wait is short, and the
 * write is tried again from a timer until its deadline.
 */

import { existsSync } from 'node:fs'
import { open } from 'node:fs/promises'
import type BetterSqlite3 from 'better-sqlite3'
import { drizzle } from 'drizzle-orm/better-sqlite3'
import { migrate } from 'drizzle-orm/better-sqlite3/migrator'
import { passing } from '../errors.ts'
import { timed } from '../timing.ts'
import {
  type Database,
  type Orm,
  type Query,
  type Reading,
  type Statement,
  UniqueViolation,
  type Values,
} from './database.ts'
import { drizzleFolder } from './drizzle-folder.ts'
import { changedBy, RowsAtHand } from './rows-at-hand.ts'
import { opened } from './sqlite-file.ts'
import { assertVersion } from './tables-version.ts'

/** How long SQLite itself may wait for a lock: the event loop stands still meanwhile. */
const BUSY_TIMEOUT_MS = 5
/** How long a write is tried again before its caller is told that the database is busy. */
const WRITE_DEADLINE_MS = 4_000
const RETRY_EVERY_MS = 40
/** Of many that wait, as many share a commit as run in this time; the event loop stands still meanwhile. */
const TURN_MS = 8

/** What only a database in a file can do. */
interface InAFile {
  /** Copies the database, consistent in itself, while it is in use. */
  backup(file: string): Promise<void>
}

export type ReadingDatabase = Reading & InAFile & { close(): Promise<void> }

export interface SqliteDatabase extends Database, InAFile {
  /** Moves what the write-ahead log holds into the database file. */
  checkpoint(): Promise<void>
}

interface Job {
  statements: readonly Statement[]
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

/** The error as the contract has it. */
const told = (error: unknown): unknown =>
  /^SQLITE_CONSTRAINT_(UNIQUE|PRIMARYKEY)$/.test(codeOf(error))
    ? new UniqueViolation('a row of that key exists', { cause: error })
    : error

const migrationsFolder = drizzleFolder('sqlite')

interface Prepared {
  all(values?: Values): unknown[]
  get(values?: Values): unknown
  run(values?: Values): { changes: number }
  getQuery(): { sql: string }
  /** Tables that it changes, once it was asked. */
  changes?: readonly string[]
}

interface Statements {
  of(query: Query): Prepared
  readonly atHand: RowsAtHand
}

/** Gives each query's prepared statement. */
function preparing(orm: Orm, sqlite: BetterSqlite3.Database): Statements {
  const known = new WeakMap<Query, Prepared>()
  const version = sqlite.prepare('PRAGMA data_version').pluck()
  return {
    of(query) {
      const before = known.get(query)
      if (before) return before
      const prepared = query.build(orm).prepare() as Prepared
      if (query.isKept) known.set(query, prepared)
      return prepared
    },
    atHand: new RowsAtHand(() => version.get()),
  }
}

function reading(statements: Statements): Reading {
  function get(query: Query, values?: Values): unknown {
    const prepared = statements.of(query)
    const read = () => prepared.get(values)
    return query.isAtHand && values ? statements.atHand.get(query, () => prepared.getQuery().sql, values, read) : read()
  }
  return {
    get: <Row>(query: Query<Row>, values?: Values) => get(query, values) as Row | undefined,
    all: <Row>(query: Query<Row>, values?: Values) => statements.of(query).all(values) as Row[],
  }
}

/** @throws a sentence for the operator when the tables are not those of this version */
function assertCurrent(sqlite: BetterSqlite3.Database, file: string): void {
  const applied = Number(sqlite.prepare('SELECT max(created_at) FROM __drizzle_migrations').pluck().get())
  assertVersion(applied, migrationsFolder, file)
}

function openedAsItIs(file: string): BetterSqlite3.Database {
  const options = { readonly: true, fileMustExist: true, timeout: 10_000 }
  try {
    return opened(file, options, (sqlite) => assertCurrent(sqlite, file))
  } catch (error) {
    if (codeOf(error) === '') throw error
    throw new Error(`${file} is no database of this service: ${(error as Error).message}`)
  }
}

/**
 * Opens the database file to read it, also while a server uses it.
 *
 * @throws a sentence for the operator when there is none, or it is none of this version
 */
export function openForReading(file: string): ReadingDatabase {
  if (!existsSync(file)) {
    throw new Error(
      `there is no database at ${file}; a command needs the settings of its server, here RECORDINGS_DATA_DIR`,
    )
  }
  const sqlite = openedAsItIs(file)
  return {
    ...reading(preparing(drizzle(sqlite), sqlite)),
    backup: (target) => copyWhole(sqlite, target),
    close: async () => {
      sqlite.close()
    },
  }
}

/** In one step: in smaller ones it would begin again with every write of the server, and never end. */
async function copyWhole(sqlite: BetterSqlite3.Database, target: string): Promise<void> {
  await (await open(target, 'a', 0o600)).close()
  await sqlite.backup(target, { progress: () => 2 ** 31 - 1 })
}

/** Opens the database file, creates it where it is missing (mode 0600), and brings its tables up to date. */
export async function openSqlite(file: string): Promise<SqliteDatabase> {
  await (await open(file, 'a', 0o600)).close()
  const sqlite = opened(file, { timeout: 10_000 }, (database) => {
    database.pragma('journal_mode = WAL')
    database.pragma('synchronous = FULL')
    database.pragma('foreign_keys = ON')
  })
  const orm = drizzle(sqlite)
  migrate(orm, { migrationsFolder })
  sqlite.pragma(`busy_timeout = ${BUSY_TIMEOUT_MS}`)
  const statements = preparing(orm, sqlite)
  const queue = new WriteQueue(sqlite, statements)
  return {
    ...reading(statements),
    write: (...statements) => timed('database', () => queue.write(statements)),
    ping: async () => {
      sqlite.prepare('SELECT count(*) FROM leads WHERE id IS NULL').get()
    },
    backup: (target) => copyWhole(sqlite, target),
    checkpoint: async () => {
      sqlite.pragma('wal_checkpoint(TRUNCATE)')
    },
    async close() {
      await queue.settled()
      try {
        sqlite.pragma('wal_checkpoint(TRUNCATE)')
      } finally {
        sqlite.close()
      }
    },
  }
}

/** Runs one statement inside the open transaction. @returns how many rows it changed */
function run(statement: Statement, { of, atHand }: Statements): number {
  const { query, values, atLeast, passes, take, error } = statement
  const prepared = of(query)
  if (passes) {
    if (!passes(prepared.get(values))) throw failed(error)
    return 0
  }
  prepared.changes ??= changedBy(prepared.getQuery().sql)
  // Where the transaction is undone in the end, rows are read once more than they need be.
  atHand.changed(prepared.changes)
  const changes = take ? taken(prepared.all(values), take) : prepared.run(values).changes
  if (changes < (atLeast ?? 0)) throw failed(error)
  return changes
}

function taken(rows: unknown[], take: (rows: unknown[]) => void): number {
  take(rows)
  return rows.length
}

const failed = (error: (() => Error) | undefined): Error =>
  error?.() ?? new Error('a condition of a write does not hold')

type Outcome = { changes: number[] } | { error: unknown }

/** Jobs that wait share a commit; each is undone by itself when it fails. */
class WriteQueue {
  readonly #sqlite: BetterSqlite3.Database
  readonly #statements: Statements
  readonly #sql: Record<
    'begin' | 'commit' | 'rollback' | 'savepoint' | 'release' | 'rollbackTo',
    BetterSqlite3.Statement
  >
  #jobs: Job[] = []
  #isScheduled = false

  constructor(sqlite: BetterSqlite3.Database, statements: Statements) {
    this.#sqlite = sqlite
    this.#statements = statements
    this.#sql = {
      begin: sqlite.prepare('BEGIN IMMEDIATE'),
      commit: sqlite.prepare('COMMIT'),
      rollback: sqlite.prepare('ROLLBACK'),
      savepoint: sqlite.prepare('SAVEPOINT job'),
      release: sqlite.prepare('RELEASE job'),
      rollbackTo: sqlite.prepare('ROLLBACK TO job'),
    }
  }

  write(statements: readonly Statement[]): Promise<number[]> {
    return new Promise((resolve, reject) => {
      this.#jobs.push({ statements, deadlineMs: performance.now() + WRITE_DEADLINE_MS, resolve, reject })
      this.#schedule()
    })
  }

  async settled(): Promise<void> {
    while (this.#jobs.length > 0) await new Promise((done) => setTimeout(done, RETRY_EVERY_MS))
  }

  #schedule(afterMs = 0): void {
    if (this.#isScheduled || this.#jobs.length === 0) return
    this.#isScheduled = true
    if (afterMs === 0) setImmediate(() => this.#flush())
    else setTimeout(() => this.#flush(), afterMs)
  }

  /** Puts busy jobs back in front of the queue; those past their deadline are told. */
  #later(jobs: readonly Job[], cause: unknown): void {
    const now = performance.now()
    const patient = jobs.filter((job) => job.deadlineMs > now)
    for (const job of jobs) {
      if (job.deadlineMs <= now) job.reject(passing('busy', 'The database is busy; try again shortly.', cause))
    }
    this.#jobs = [...patient, ...this.#jobs]
    this.#schedule(RETRY_EVERY_MS)
  }

  /** Runs one job inside the open transaction; undoes just this job when it throws. */
  #run({ statements }: Job, isAlone: boolean): Outcome {
    const { savepoint, release, rollbackTo } = this.#sql
    try {
      if (!isAlone) savepoint.run()
      const changes = statements.map((statement) => run(statement, this.#statements))
      if (!isAlone) release.run()
      return { changes }
    } catch (error) {
      if (!isAlone && this.#sqlite.inTransaction) {
        rollbackTo.run()
        release.run()
      }
      return { error: told(error) }
    }
  }

  #flush(): void {
    this.#isScheduled = false
    const jobs = this.#jobs
    this.#jobs = []
    try {
      this.#sql.begin.run()
    } catch (error) {
      this.#refuse(jobs, error)
      return
    }
    const outcomes = this.#runAll(jobs)
    if (!outcomes) return
    const ran = jobs.slice(0, outcomes.length)
    this.#jobs = jobs.slice(outcomes.length)
    try {
      const [only] = outcomes
      if (jobs.length === 1 && only && 'error' in only) this.#undo()
      else this.#sql.commit.run()
    } catch (error) {
      this.#undo()
      this.#refuse(ran, error)
      this.#schedule()
      return
    }
    for (const [i, job] of ran.entries()) {
      const outcome = outcomes[i]
      if (outcome && 'changes' in outcome) job.resolve(outcome.changes)
      else job.reject(outcome?.error)
    }
    this.#schedule()
  }

  /**
   * Runs as many as a turn of the event loop has time for, the first in any case. Undefined where a fault has undone the whole
   * transaction: then it strikes its own job alone, the others run again.
   */
  #runAll(jobs: readonly Job[]): Outcome[] | undefined {
    const outcomes: Outcome[] = []
    const untilMs = performance.now() + TURN_MS
    for (const job of jobs) {
      if (outcomes.length > 0 && performance.now() > untilMs) break
      const outcome = this.#run(job, jobs.length === 1)
      outcomes.push(outcome)
      // A full disk or a failing one undoes everybody's work.
      if (this.#sqlite.inTransaction) continue
      job.reject('error' in outcome ? outcome.error : new Error('the transaction ended by itself'))
      this.#jobs = [...jobs.filter((other) => other !== job), ...this.#jobs]
      this.#schedule()
      return undefined
    }
    return outcomes
  }

  #undo(): void {
    if (this.#sqlite.inTransaction) this.#sql.rollback.run()
  }

  #refuse(jobs: readonly Job[], error: unknown): void {
    if (isBusy(error)) this.#later(jobs, error)
    else for (const job of jobs) job.reject(told(error))
  }
}

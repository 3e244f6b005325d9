/**
 * PostgreSQL as the database: reads on connections that they share, transactions on connections of their own.
 *
 * A fault that passes is tried again for a while; whoever waits longer is told `busy`. A commit whose answer was lost is
 * looked up first: what is not known is never taken for failed.
 */
import pg from 'pg'
import { passing } from '../../errors.ts'
import { timed } from '../../timing.ts'
import type { Database, Query, Reading, Statement, Values } from '../database.ts'
import { Turns } from './alone.ts'
import { IS_LED } from './life.ts'
import { assertCurrent, bringUpToDate } from './migrations.ts'
import { NOW } from './postgres-clock.ts'
import { type ConnectionOptions, Connections } from './postgres-connections.ts'
import { type DeadlineMs, untilPassed } from './postgres-faults.ts'
import { aloneOf, type Outcome, OutcomeUnknown, Transactions } from './transactions.ts'

/** So long a commit is looked up at least, however much of the time was gone when its answer was lost. */
const LOOK_UP_MS = 2_000

export interface SqlStatement {
  /** Prepared for good under it. */
  name?: string
  text: string
  values: unknown[]
}

/** What claims need of it besides. */
export interface PostgresDatabase extends Database {
  /** Runs one statement that may be run again. @throws ServiceError `busy` */
  query(statement: SqlStatement): Promise<{ rows: Record<string, unknown>[]; rowCount: number | null }>
  /** A connection of its own, not made yet, without time limits for its statements. */
  session(): pg.Client
}

/** Counts, sizes and times are far below 2^53: whole numbers come as numbers, not as text. */
function readNumbers(): void {
  for (const type of [pg.types.builtins.INT8, pg.types.builtins.NUMERIC]) pg.types.setTypeParser(type, Number)
}

/**
 * Opens the database and brings its tables up to date.
 *
 * @throws ServiceError `busy` when it can't be reached, with the reason as its cause
 */
export async function openPostgres(options: ConnectionOptions): Promise<PostgresDatabase> {
  readNumbers()
  const connections = new Connections(options)
  try {
    await untilPassed(connections.deadlineMs(), () => bringUpToDate(connections.session()))
  } catch (error) {
    await connections.end()
    throw error
  }
  return over(connections)
}

/** Opens the database to read it, and makes nothing. @throws a sentence for the operator when it is of another version */
export const readPostgres = (options: ConnectionOptions): Promise<Reading & { close(): Promise<void> }> =>
  usePostgres(options)

/** Opens the database as it is, also beside instances that use it, and makes nothing. @throws as `readPostgres` */
export async function usePostgres(options: ConnectionOptions): Promise<PostgresDatabase> {
  readNumbers()
  const db = over(new Connections(options))
  try {
    await assertCurrent(db, `${options.url}`)
    return db
  } catch (error) {
    await db.close()
    throw error
  }
}

/** One row, over a connection of its own. */
async function askedOnce(options: ConnectionOptions, text: string, values: unknown[] = []) {
  const db = over(new Connections(options))
  try {
    return (await db.query({ text, values })).rows[0]
  } finally {
    await db.close()
  }
}

/** Whether an instance that lives has the lead of something. */
export const isLed = async (options: ConnectionOptions, what: 'sweep'): Promise<boolean> =>
  (await askedOnce(options, IS_LED, [what]))?.led === true

/** The database's clock, in milliseconds. */
export const timeOfPostgres = async (options: ConnectionOptions): Promise<number> =>
  Number((await askedOnce(options, NOW))?.now)

function over(connections: Connections): PostgresDatabase {
  const transactions = new Transactions()
  const turns = new Turns()

  const all = <Row>(query: Query<Row>, values?: Values): Promise<Row[]> => {
    const deadlineMs = connections.deadlineMs()
    return untilPassed(deadlineMs, () =>
      connections.share(deadlineMs, async (connection) => (await connection.prepared(query).execute(values)) as Row[]),
    )
  }

  return {
    all,
    get: async (query, values) => (await all(query, values))[0],
    async write(...statements) {
      if (statements.length === 0) return []
      const deadlineMs = connections.deadlineMs()
      const run = () => commit(connections, transactions, statements, deadlineMs)
      const outcome = await timed('database', () =>
        turns.take(aloneOf(statements).join(), () => untilPassed(deadlineMs, run)),
      )
      outcome.tell()
      return outcome.changes
    },
    query(statement) {
      const deadlineMs = connections.deadlineMs()
      return untilPassed(deadlineMs, () => connections.own(deadlineMs, ({ client }) => client.query(statement)))
    },
    session: () => connections.session(),
    async ping() {
      await connections.share(connections.deadlineMs(), ({ client }) => client.query('select 1'))
    },
    close: () => connections.end(),
  }
}

/** @throws OutcomeUnknown when it is known to have come to nothing, by a fault that passes */
async function commit(
  connections: Connections,
  transactions: Transactions,
  statements: readonly Statement[],
  deadlineMs: DeadlineMs,
): Promise<Outcome> {
  try {
    return await connections.own(deadlineMs, (connection) => transactions.run(connection, statements))
  } catch (error) {
    if (!(error instanceof OutcomeUnknown)) throw error
    const { transaction, outcome, cause } = error
    const untilMs = Math.max(deadlineMs, performance.now() + LOOK_UP_MS)
    const lookUp = () => connections.own(untilMs, (connection) => transactions.wasCommitted(connection, transaction))
    const wasCommitted = await untilPassed(untilMs, lookUp).catch(() => {
      // It may have been, or not: nothing is tried again on the strength of that.
      throw passing('busy', 'The database is busy; try again shortly.', cause)
    })
    if (wasCommitted) return outcome
    throw error
  }
}

/**
 * PostgreSQL: connections, migrations, and transactions at READ COMMITTED.
 *
 * A transaction is sent in two trips: its statements all at once, then COMMIT or, where a condition does not hold,
 * ROLLBACK. What a lost connection has left open is asked about: each transaction learns its number
 * (`pg_current_xact_id`), so that a COMMIT without an answer is looked up and never taken for failed. A fault that passes
 * is tried again for a while; whoever waits longer is told `busy`.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { drizzle } from 'drizzle-orm/node-postgres'
import { migrate } from 'drizzle-orm/node-postgres/migrator'
import pg from 'pg'
import { passing } from '../errors.ts'
import { type Database, type Orm, type Query, type Statement, UniqueViolation, type Values } from './database.ts'

/** How long what passes is tried again before its caller is told that the database is busy. */
const DEADLINE_MS = 4_000
const RETRY_EVERY_MS = 50
/** Any number will do, as long as all versions take the same. */
const MIGRATION_LOCK = 7_238_412_901
/** The first of the two keys of an advisory lock: what `alone` names is hashed into the second. */
const ALONE = 1

export interface PostgresOptions {
  url: string
  /** Connections for transactions, and for reads. */
  connections: number
  statementTimeoutMs: number
}

const migrationsFolder = fileURLToPath(new URL('../../drizzle/postgres', import.meta.url))

/** What is prepared on one connection. */
interface Prepared {
  execute(values?: Values): Promise<unknown>
}

interface Connection {
  readonly client: pg.PoolClient
  prepared(query: Query): Prepared
}

/** PostgreSQL was not there, is ending, or chose this transaction to break a deadlock: the same may pass a moment later. */
const PASSING = /^(08...|57P0[123]|40001|40P01|53[0-9A-Z]{3}|ECONNREFUSED|ECONNRESET|EPIPE|ETIMEDOUT|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH)$/

const causes = function* (error: unknown): Generator<Error & { code?: unknown }> {
  for (let e = error; e instanceof Error; e = e.cause) yield e
}

const codeOf = (error: unknown): string => {
  for (const { code } of causes(error)) if (typeof code === 'string') return code
  return ''
}

/** The driver names some losses of a connection by a sentence alone. */
const isLoss = (error: unknown): boolean =>
  [...causes(error)].some((e) => /Connection terminated|timeout exceeded when trying to connect|Client was closed|not queryable/i.test(e.message))

const isPassing = (error: unknown): boolean => PASSING.test(codeOf(error)) || isLoss(error)

/** The error as the contract has it. */
const told = (error: unknown): unknown =>
  codeOf(error) === '23505' ? new UniqueViolation('a row of that key exists', { cause: error }) : error

/** The COMMIT was sent, and nobody said what came of it. */
class OutcomeUnknown extends Error {
  readonly transaction: string

  constructor(transaction: string, cause: unknown) {
    super('the answer to a commit was lost', { cause })
    this.transaction = transaction
  }
}

/** Opens the database and brings its tables up to date; any number of instances may do so at once. */
export async function openPostgres({ url, connections, statementTimeoutMs }: PostgresOptions): Promise<Database> {
  // Counts, sizes and times are far below 2^53.
  for (const type of [pg.types.builtins.INT8, pg.types.builtins.NUMERIC]) pg.types.setTypeParser(type, Number)
  await migrateAlone(url)
  const pool = new pg.Pool({
    connectionString: url,
    max: connections,
    pipeline: true,
    connectionTimeoutMillis: DEADLINE_MS,
    statement_timeout: statementTimeoutMs,
    idle_in_transaction_session_timeout: statementTimeoutMs,
    keepAlive: true,
    application_name: 'call-recordings',
  } as pg.PoolConfig)
  // A connection that is lost while nobody uses it is replaced by the next use.
  pool.on('error', () => {})
  const known = new WeakMap<object, Connection>()

  async function using<T>(work: (connection: Connection) => Promise<T>): Promise<T> {
    const client = await pool.connect()
    const connection = known.get(client) ?? connectionOf(client)
    known.set(client, connection)
    let broken: Error | undefined
    try {
      return await work(connection)
    } catch (error) {
      if (isPassing(error) || error instanceof OutcomeUnknown) broken = error as Error
      throw error
    } finally {
      client.release(broken)
    }
  }

  /** Asks until it is known; meanwhile nothing is tried again. */
  const isCommitted = (transaction: string): Promise<boolean> =>
    untilPassed(() =>
      using(async ({ client }) => {
        const { rows } = await client.query('select pg_xact_status($1::text::xid8) as status', [transaction])
        const status = rows[0]?.status
        if (status === 'in progress') throw Object.assign(new Error('a transaction has not ended'), { code: '57P01' })
        return status === 'committed'
      }),
    )

  const read = <Row>(query: Query<Row>, values?: Values): Promise<Row[]> =>
    untilPassed(() => using(async (connection) => (await connection.prepared(query).execute(values)) as Row[]))

  return {
    get: async (query, values) => (await read(query, values))[0],
    all: read,
    write: (...statements) =>
      untilPassed(async () => {
        const result: { changes?: number[] } = {}
        try {
          return await using((connection) => transact(connection, statements, result))
        } catch (error) {
          if (!(error instanceof OutcomeUnknown)) throw told(error)
          if (await isCommitted(error.transaction)) return result.changes as number[]
          throw error
        }
      }),
    ping: async () => {
      await using(({ client }) => client.query('select 1'))
    },
    close: () => pool.end(),
  }
}

function connectionOf(client: pg.PoolClient): Connection {
  const orm = drizzle(client) as unknown as Orm
  const known = new WeakMap<Query, Prepared>()
  let names = 0
  return {
    client,
    prepared(query) {
      const before = known.get(query)
      if (before) return before
      const builder = query.build(orm) as unknown as { prepare(name?: string): Prepared }
      // Only what is prepared for good gets a name: PostgreSQL keeps each until the connection ends.
      const prepared = builder.prepare(query.isKept ? `kept_${++names}` : undefined)
      if (query.isKept) known.set(query, prepared)
      return prepared
    },
  }
}

/** Sends the statements at once, looks at what they gave, and commits. @throws OutcomeUnknown */
async function transact(
  { client, prepared }: Connection,
  statements: readonly Statement[],
  result: { changes?: number[] },
): Promise<number[]> {
  const began = client.query('begin')
  const numbered = client.query('select pg_current_xact_id()::text as id')
  const alone = new Set(statements.flatMap((statement) => statement.alone ?? []))
  // In one order for all, so that two transactions never wait for each other.
  const locks = [...alone].sort().map((name) =>
    client.query('select pg_advisory_xact_lock($1, hashtext($2))', [ALONE, name]),
  )
  const answers = statements.map((statement) => prepared(statement.query).execute(statement.values))
  const settled = await Promise.allSettled([began, numbered, ...locks, ...answers])
  const fault = settled.find((each) => each.status === 'rejected')
  try {
    if (fault) throw fault.reason
    const given = settled.slice(2 + locks.length).map((each) => (each as PromiseFulfilledResult<unknown>).value)
    result.changes = statements.map((statement, i) => changed(statement, given[i]))
  } catch (error) {
    // Where the connection is lost, so is the transaction.
    await client.query('rollback').catch(() => {})
    throw error
  }
  try {
    await client.query('commit')
  } catch (error) {
    if (!isPassing(error)) throw error
    const { rows } = (settled[1] as PromiseFulfilledResult<pg.QueryResult<{ id: string }>>).value
    throw new OutcomeUnknown(rows[0]?.id as string, error)
  }
  return result.changes
}

/** How many rows a statement changed. @throws its error, where they are too few or its condition does not hold */
function changed({ atLeast, passes, error }: Statement, given: unknown): number {
  const failed = () => error?.() ?? new Error('a condition of a write does not hold')
  if (passes) {
    if (!passes((given as unknown[])[0])) throw failed()
    return 0
  }
  const changes = (given as { rowCount: number | null }).rowCount ?? 0
  if (changes < (atLeast ?? 0)) throw failed()
  return changes
}

/** Tries again what passes. @throws ServiceError `busy` when it has not passed in time */
async function untilPassed<T>(work: () => Promise<T>): Promise<T> {
  const deadlineMs = performance.now() + DEADLINE_MS
  for (;;) {
    try {
      return await work()
    } catch (error) {
      if (!isPassing(error)) throw error
      if (performance.now() + RETRY_EVERY_MS > deadlineMs) {
        throw passing('busy', 'The database is busy; try again shortly.', error)
      }
    }
    await sleep(RETRY_EVERY_MS * (0.5 + Math.random()))
  }
}

/** One instance at a time; Drizzle's migrator takes no lock. */
async function migrateAlone(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url, application_name: 'call-recordings: tables' })
  await client.connect()
  try {
    await client.query('select pg_advisory_lock($1)', [MIGRATION_LOCK])
    await migrate(drizzle(client), { migrationsFolder })
  } finally {
    await client.end()
  }
}

/**
 * Transactions at READ COMMITTED, each sent in two trips: its statements all at once, and then COMMIT or, where a condition
 * does not hold, ROLLBACK.
 *
 * A COMMIT whose answer is lost is looked up and never taken for failed. For that each connection has a row with the number
 * of the transaction that it committed last, written in that transaction itself. PostgreSQL's own number of a transaction
 * won't do: after a crash it is given out again where nothing of the first one had reached the disk, and the first would
 * pass for committed.
 */
import { randomUUID } from 'node:crypto'
import type pg from 'pg'
import type { Statement } from '../database.ts'
import type { Owned } from './postgres-connections.ts'
import { isPassing, Silence } from './postgres-faults.ts'

/** Rows of connections that are long gone. */
const FORGET = `delete from transactions where at < now() - interval '1 day'`
const INTRODUCE = 'insert into transactions (connection, number) values ($1, 0)'
const MARK = {
  name: 'mark',
  text: 'update transactions set number = $2, at = now() where connection = $1',
}
/** Ends the transaction where it still goes on; what it has committed by then stays. */
const END = `select pg_terminate_backend(pid) from transactions join pg_stat_activity on backend_xid = transactions.xmax
  where connection = $1`
/** Waits until a transaction that is about to end has ended. */
const LOOK_UP = 'select number from transactions where connection = $1 for update'
/** The first of the two keys of an advisory lock: what `alone` names is hashed into the second. */
const ALONE = { name: 'alone', text: 'select pg_advisory_xact_lock(1, hashtext($1))' }

/** A transaction by its name: the connection that it ran on, and how many that one had before. */
interface Name {
  readonly connection: string
  readonly number: number
}

/** What a transaction has done, once it is committed. */
export interface Outcome {
  /** How many rows each statement changed. */
  readonly changes: number[]
  /** Hands over what statements with RETURNING wrote. */
  tell(): void
}

/** COMMIT was sent, and what came of it is not known. */
export class OutcomeUnknown extends Error {
  override name = 'OutcomeUnknown'
  readonly transaction: Name
  /** Where it is found to have been committed. */
  readonly outcome: Outcome

  constructor(transaction: Name, outcome: Outcome, cause: unknown) {
    super('the answer to a commit was lost', { cause })
    this.transaction = transaction
    this.outcome = outcome
  }
}

export class Transactions {
  /** Of each connection that has a row: its name, and its transactions so far. */
  readonly #known = new WeakMap<pg.ClientBase, { connection: string; number: number }>()

  /**
   * Sends the statements, looks at what they gave, and commits.
   *
   * @throws OutcomeUnknown
   */
  async run(connection: Owned, statements: readonly Statement[]): Promise<Outcome> {
    const { client } = connection
    const name = await this.#next(client)
    const began = client.query('begin')
    const marked = client.query({ ...MARK, values: [name.connection, name.number] })
    const locks = aloneOf(statements).map((what) => client.query({ ...ALONE, values: [what] }))
    const answers = statements.map((statement) => answerTo(connection, statement))
    await Promise.allSettled<unknown>([began, marked, ...locks, ...answers])
    let outcome: Outcome
    try {
      await Promise.all([began, ...locks])
      if ((await marked).rowCount !== 1) throw new Silence('the row of a connection is gone')
      outcome = await outcomeOf(statements, answers)
    } catch (error) {
      // Where the connection is lost, so is the transaction.
      await client.query('rollback').catch(() => {})
      throw error
    }
    try {
      await client.query('commit')
    } catch (error) {
      if (!isPassing(error)) throw error
      throw new OutcomeUnknown(name, outcome, error)
    }
    return outcome
  }

  /** Whether it was committed; it is ended where it has not ended yet. */
  async wasCommitted({ client }: Owned, { connection, number }: Name): Promise<boolean> {
    await client.query({ text: END, values: [connection] })
    const { rows } = await client.query<{ number: number }>({ text: LOOK_UP, values: [connection] })
    return rows[0]?.number === number
  }

  async #next(client: pg.ClientBase): Promise<Name> {
    let known = this.#known.get(client)
    if (!known) {
      known = { connection: randomUUID(), number: 0 }
      await Promise.all([client.query(FORGET), client.query({ text: INTRODUCE, values: [known.connection] })])
      this.#known.set(client, known)
    }
    known.number += 1
    return { ...known }
  }
}

/** What they look at alone; in one order for all, so that two transactions never wait for each other. */
export const aloneOf = (statements: readonly Statement[]): string[] =>
  [...new Set(statements.flatMap(({ alone }) => alone ?? []))].sort()

const answerTo = async (connection: Owned, { query, values }: Statement) => connection.prepared(query).execute(values)

/**
 * What the statements have done, looked at in their order: the first that failed, or whose condition does not hold, says what
 * became of all, as if none had been run after it.
 *
 * @throws its error
 */
async function outcomeOf(statements: readonly Statement[], answers: readonly Promise<unknown>[]): Promise<Outcome> {
  const results: unknown[] = []
  const changes: number[] = []
  for (const [i, statement] of statements.entries()) {
    const result = await answers[i]
    results.push(result)
    changes.push(changesOf(statement, result))
  }
  return {
    changes,
    tell() {
      for (const [i, { take }] of statements.entries()) take?.(results[i] as unknown[])
    },
  }
}

function changesOf({ atLeast = 0, passes, take, error }: Statement, result: unknown): number {
  const failed = () => error?.() ?? new Error('a condition of a write does not hold')
  if (passes) {
    if (!passes((result as unknown[])[0])) throw failed()
    return 0
  }
  const changes = take ? (result as unknown[]).length : ((result as pg.QueryResult).rowCount ?? 0)
  if (changes < atLeast) throw failed()
  return changes
}

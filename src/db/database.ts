/**
 * The database as everybody else sees it: queries and statements are data, and the driver of a dialect runs them.
 *
 * A query is described once, by a function from Drizzle's builders to one of them; its values come when it is asked.
 * Statements that belong together are one transaction: a list, handed to `write`. What may not be true any more by
 * the time it runs is a condition of the list itself (`must`, `holds`), never a look before it.
 */
import type { BetterSQLite3Database } from 'drizzle-orm/better-sqlite3'
import type * as schema from './schema.ts'

/** Drizzle's builders over the tables of `schema.ts`; those of the other dialect take the same tables. */
export type Orm = BetterSQLite3Database<typeof schema>

/** For the placeholders of a query, by name. */
export type Values = Readonly<Record<string, unknown>>

/** What a driver needs of one of Drizzle's builders. */
export interface Builder<Row> {
  prepare(): { all(values?: Values): Row[]; get(values?: Values): unknown; run(values?: Values): { changes: number } }
}

/** A read or a write, described. */
export interface Query<Row = unknown> {
  readonly build: (orm: Orm) => Builder<Row>
  /** Built and prepared at its first use with a database, and not again. */
  readonly isKept: boolean
}

/** A query that is the same each time but for its values: to be made once, at the module's top. */
export const kept = <Row>(build: (orm: Orm) => Builder<Row>): Query<Row> => ({ build, isKept: true })

/** A query that is made for one use, since its form follows from what is asked. */
export const once = <Row>(build: (orm: Orm) => Builder<Row>): Query<Row> => ({ build, isKept: false })

/** One statement of a transaction. */
export interface Statement {
  readonly query: Query
  readonly values?: Values | undefined
  /** Where fewer rows change, `error` is thrown and the whole transaction undone. */
  readonly atLeast?: number
  /** The query is a read: where its row does not pass, `error` is thrown and the whole transaction undone. */
  readonly passes?: (row: unknown) => boolean
  /** Transactions that look at the same thing run one after the other, also where a database has several writers. */
  readonly alone?: string
  readonly error?: () => Error
}

/** A query with its values. */
export const bind = (query: Query, values?: Values): Statement => ({ query, values })

/** A statement that must change at least `rows` rows. */
export const must = (statement: Statement, error: () => Error, rows = 1): Statement => ({
  ...statement,
  atLeast: rows,
  error,
})

/**
 * A condition of a transaction.
 *
 * @param alone what is looked at: two transactions that name the same never both pass on the strength of what neither
 *   has written yet
 */
export const holds = <Row>(
  { query, values }: { query: Query<Row>; values?: Values },
  passes: (row: Row | undefined) => boolean,
  alone: string,
  error: () => Error,
): Statement => ({ query, values, passes: passes as (row: unknown) => boolean, alone, error })

export interface Reading {
  /** The first row; undefined where there is none. To be awaited, though one of the drivers answers at once. */
  get<Row>(query: Query<Row>, values?: Values): Promise<Row | undefined> | Row | undefined
  all<Row>(query: Query<Row>, values?: Values): Promise<Row[]> | Row[]
}

export interface Database extends Reading {
  /**
   * Runs the statements as one transaction, all or none; resolves when they are durable.
   *
   * @returns how many rows each statement changed
   * @throws what a statement's `error` gives; UniqueViolation; ServiceError `busy` when the lock could not be had in time
   */
  write(...statements: readonly Statement[]): Promise<number[]>
  /** Rejects when the database does not answer. */
  ping(): Promise<void>
  close(): Promise<void>
}

/** A row of that key exists already. */
export class UniqueViolation extends Error {
  override name = 'UniqueViolation'
}

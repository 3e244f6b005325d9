/**
 * The database as everybody else sees it: queries and statements are data, and the driver of a dialect runs them.
 *
 * A query is described once, by a function from Drizzle's builders to one of them; its values come when it is asked.
 * Statements that belong together are one transaction: a list, handed to `write`. What may not be true any more by
 * the time it runs is a condition of the list itself (`must`, `holds`), never a look before it.
 */
import type { BetterSQLite3Database } from 'drizzle-orm/better-sqlite3'

/** Drizzle's builders over the tables of `schema.ts`; those of the other dialect take the same tables. */
export type Orm = BetterSQLite3Database

/** For the placeholders of a query, by name. */
export type Values = Readonly<Record<string, unknown>>

/** What a driver needs of one of Drizzle's builders. */
export interface Builder {
  prepare(): { all(values?: Values): unknown; get(values?: Values): unknown; run(values?: Values): unknown }
}

type RowOf<B extends Builder> = ReturnType<ReturnType<B['prepare']>['all']> extends (infer Row)[] ? Row : never

/** A read or a write, described; `Row` is what it gives. */
export interface Query<Row = unknown> {
  readonly build: (orm: Orm) => Builder
  /** Built and prepared at its first use with a database, and not again. */
  readonly isKept: boolean
  /** For one row by its `id`, asked for at every request: a driver may know it without asking the database again. */
  readonly isAtHand?: boolean
  readonly row?: Row
}

/** A query that is the same each time but for its values: to be made once, at the module's top. */
export const kept = <B extends Builder>(build: (orm: Orm) => B): Query<RowOf<B>> => ({ build, isKept: true })

/** The same, for a row that every request asks for by its `id`: it is not to be changed by who gets it. */
export const atHand = <B extends Builder>(build: (orm: Orm) => B): Query<Readonly<RowOf<B>>> => ({
  build,
  isKept: true,
  isAtHand: true,
})

/** A query that is made for one use, since its form follows from what is asked; a write's is built within its transaction. */
export const once = <B extends Builder>(build: (orm: Orm) => B): Query<RowOf<B>> => ({ build, isKept: false })

/** One statement of a transaction. */
export interface Statement {
  readonly query: Query
  readonly values?: Values | undefined
  /** Where fewer rows change, `error` is thrown and the whole transaction undone. */
  readonly atLeast?: number
  /** The query is a read: where its row does not pass, `error` is thrown and the whole transaction undone. */
  readonly passes?: (row: unknown) => boolean
  /** The query has RETURNING: it hands over what it wrote when the transaction runs, and as many rows count as changed. */
  readonly take?: (rows: unknown[]) => void
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
 * A condition of a transaction, on the first row that the query gives.
 *
 * @param passes may throw an error of its own instead of giving false
 * @param alone what is looked at: of two transactions that name the same, neither passes on the strength of what the other
 *   has not written yet
 */
export const holds = <Row>(
  query: Query<Row>,
  values: Values | undefined,
  passes: (row: Row | undefined) => boolean,
  { alone, error }: Pick<Statement, 'alone' | 'error'> = {},
): Statement => ({
  query,
  values,
  passes: passes as (row: unknown) => boolean,
  ...(alone !== undefined && { alone }),
  ...(error && { error }),
})

/** A statement with RETURNING, which hands over the rows that it wrote. */
export const returning = <Row>(
  query: Query<Row>,
  values: Values | undefined,
  take: (rows: Row[]) => void,
): Statement => ({
  query,
  values,
  take: take as (rows: unknown[]) => void,
})

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
  /** Where the caller knows nothing better: another request was faster, and to ask again may go well. */
  readonly code = 'EBUSY'
}

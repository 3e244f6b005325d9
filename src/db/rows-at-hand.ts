/**
 * Rows that every request asks for by their key, kept in memory for as long as nothing they were read from has changed.
 *
 * For a database that this process alone writes to, as a rule: a change of its own is seen in the statement that makes it,
 * one by another process by the version that the database tells. Either lets all rows go. A row that is not there is not
 * kept, and so an insert changes nothing here.
 */
import type { Query, Values } from './database.ts'

/** Of each query; the one that was asked for first goes. */
const MAX_ROWS = 10_000

/** Tables that a statement changes rows of, as Drizzle writes it. */
export function changedBy(sql: string): string[] {
  const changed = [...sql.matchAll(/\b(?:update|delete\s+from)\s+(?!set\b)["`]?(\w+)/gi)].map(([, table = '']) => table)
  const [, replaced] = /^insert\s+into\s+["`]?(\w+).*\bon\s+conflict\b.*\bdo\s+update\b/is.exec(sql) ?? []
  return replaced === undefined ? changed : [...changed, replaced]
}

const readBy = (sql: string): string[] =>
  [...sql.matchAll(/\b(?:from|join)\s+["`]?(\w+)/gi)].map(([, table = '']) => table)

export class RowsAtHand {
  readonly #rows = new Map<Query, Map<string, unknown>>()
  readonly #tables = new Set<string>()
  readonly #version: () => unknown
  #seen: unknown

  /** @param version another value once another process has committed a change */
  constructor(version: () => unknown) {
    this.#version = version
  }

  /**
   * @param sql of the query
   * @param read asks the database
   */
  get(query: Query, sql: () => string, { id }: Values, read: () => unknown): unknown {
    const version = this.#version()
    if (version !== this.#seen) {
      this.#seen = version
      this.#letGo()
    }
    const rows = this.#rows.get(query) ?? this.#begin(query, sql())
    const known = rows.get(id as string)
    if (known !== undefined) return known
    const row = read()
    if (row === undefined) return undefined
    if (rows.size >= MAX_ROWS) for (const first of rows.keys()) if (rows.delete(first)) break
    rows.set(id as string, Object.freeze(row))
    return row
  }

  /** Rows of these tables change. */
  changed(tables: readonly string[]): void {
    if (tables.some((table) => this.#tables.has(table))) this.#letGo()
  }

  #begin(query: Query, sql: string): Map<string, unknown> {
    for (const table of readBy(sql)) this.#tables.add(table)
    const rows = new Map<string, unknown>()
    this.#rows.set(query, rows)
    return rows
  }

  #letGo(): void {
    for (const rows of this.#rows.values()) rows.clear()
  }
}

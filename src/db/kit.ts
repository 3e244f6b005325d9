/**
 * The columns that tables are declared with, as SQLite has them: counts of bytes and milliseconds are integers of 64 bits,
 * seconds are floating-point numbers, what is true or false is an integer. PostgreSQL's are in `postgres/postgres-kit.ts`.
 */
import { customType, index, integer, primaryKey, real, sqliteTable, text, uniqueIndex } from 'drizzle-orm/sqlite-core'

/** Drizzle's own turns a null that comes by a placeholder into false. */
const boolean = customType<{ data: boolean; driverData: number | null }>({
  dataType: () => 'integer',
  toDriver: (value: boolean | null) => (value === null ? null : Number(value)),
  fromDriver: Boolean,
})

export const sqliteKit = {
  table: sqliteTable,
  text,
  integer,
  real,
  boolean,
  index,
  uniqueIndex,
  primaryKey,
  /** Whether a column that every commit of an offset moves may be in an index. */
  indexesTimes: true,
}

export type Kit = typeof sqliteKit

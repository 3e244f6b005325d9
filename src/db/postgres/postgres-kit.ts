/**
 * The columns that tables are declared with, as PostgreSQL has them. Text is compared by its bytes, as SQLite does, whatever
 * the language of the database is: ids and keys have one order everywhere, and their indexes are of use for it.
 *
 * A row whose indexed columns stay as they are is written anew in its page, and no index is touched (HOT): so no index has
 * a column that every commit of an offset moves.
 */
import {
  bigint,
  boolean,
  customType,
  doublePrecision,
  index,
  pgTable,
  primaryKey,
  uniqueIndex,
} from 'drizzle-orm/pg-core'
import type { Kit } from '../kit.ts'

const NUMBER = { mode: 'number' } as const

export const postgresKit = {
  table: pgTable,
  text: customType<{ data: string }>({ dataType: () => 'text COLLATE "C"' }),
  integer: (name?: string) => (name === undefined ? bigint(NUMBER) : bigint(name, NUMBER)),
  real: doublePrecision,
  boolean,
  index,
  uniqueIndex,
  primaryKey,
  indexesTimes: false,
}

/** The kit as a declaration takes it: its makers give columns of the same data, which is all that queries see of them. */
export const kit = postgresKit as unknown as Kit

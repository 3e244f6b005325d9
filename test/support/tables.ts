/**
 * The tables of a service, over a connection of the test's own: to look into rows, and to make such as no client can.
 */
import path from 'node:path'
import BetterSqlite3 from 'better-sqlite3'
import { type BetterSQLite3Database, drizzle } from 'drizzle-orm/better-sqlite3'
import { type Builder, bind, type Orm, once, type Statement } from '../../src/db/database.ts'
import * as schema from '../../src/db/schema.ts'
import { afterwards } from './service.ts'

const known = new Map<string, BetterSQLite3Database<typeof schema>>()

/** @param dir the data directory */
export function tablesOf({ dir }: { dir: string }): BetterSQLite3Database<typeof schema> {
  const before = known.get(dir)
  if (before) return before
  const sqlite = new BetterSqlite3(path.join(dir, 'recordings.db'), { fileMustExist: true, timeout: 10_000 })
  const orm = drizzle(sqlite, { schema })
  known.set(dir, orm)
  afterwards(async () => {
    known.delete(dir)
    sqlite.close()
  })
  return orm
}

/** One of Drizzle's builders as a statement of the service's own transactions. */
export const asStatement = <B extends Builder>(build: (orm: Orm) => B): Statement => bind(once(build))

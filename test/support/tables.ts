/**
 * The tables of a service, over a connection of the test's own: to look into rows, and to make such as no client can.
 */
import path from 'node:path'
import BetterSqlite3 from 'better-sqlite3'
import { type BetterSQLite3Database, drizzle } from 'drizzle-orm/better-sqlite3'
import { type Builder, bind, type Orm, once, type Statement } from '../../src/db/database.ts'
import * as schema from '../../src/db/schema.ts'
import { databaseUrlOf, isPostgres } from './home.ts'
import { afterwards } from './service.ts'

type Tables = BetterSQLite3Database<typeof schema>

const known = new Map<string, Tables>()

/** To be awaited, whatever the types say: over PostgreSQL an answer is a promise. @param dir the data directory */
export function tablesOf({ dir }: { dir: string }): Tables {
  const before = known.get(dir)
  if (before) return before
  const tables = isPostgres ? promising(dir, []) : fileTables(dir)
  known.set(dir, tables)
  return tables
}

function fileTables(dir: string): Tables {
  const sqlite = new BetterSqlite3(path.join(dir, 'recordings.db'), { fileMustExist: true, timeout: 10_000 })
  afterwards(async () => {
    known.delete(dir)
    sqlite.close()
  })
  return drizzle(sqlite, { schema })
}

/** A step from the tables to a query: a property's name, or a call of it with its arguments. */
type Way = (string | unknown[])[]

/** Remembers what is asked, and asks PostgreSQL at its end: `all()`, `get()`, `run()`, or what a query of Drizzle's ends with. */
function promising(dir: string, way: Way): Tables {
  return new Proxy(() => {}, {
    get: (_, name) => (typeof name === 'string' ? promising(dir, [...way, name]) : undefined),
    apply(_, __, values) {
      const end = way.at(-1) as string
      if (['all', 'get', 'run'].includes(end)) return asked(dir, way.slice(0, -1), end === 'get')
      if (['findMany', 'findFirst'].includes(end)) return asked(dir, [...way, values], false)
      return promising(dir, [...way, values])
    },
  }) as unknown as Tables
}

async function asked(dir: string, way: Way, isFirst: boolean): Promise<unknown> {
  const { tablesIn } = await import('./postgres-tables.ts')
  const rows = await tablesIn((await databaseUrlOf(dir)) as string, (tables) => {
    let at: unknown = tables
    let self: unknown
    for (const step of way) {
      if (typeof step === 'string') {
        self = at
        at = (at as Record<string, unknown>)[step]
      } else {
        at = (at as (...values: unknown[]) => unknown).apply(self, step)
      }
    }
    return at as PromiseLike<unknown>
  })
  return isFirst ? (rows as unknown[])[0] : rows
}

/** The uploads that are under way: where bytes are gathered in memory, nothing else tells that one has begun. */
export async function openUploads(home: { dir: string }): Promise<schema.UploadRow[]> {
  const rows = await tablesOf(home).query.uploads.findMany()
  return rows.filter(({ state }) => state === 'receiving' || state === 'finishing')
}

/** One of Drizzle's builders as a statement of the service's own transactions. */
export const asStatement = <B extends Builder>(build: (orm: Orm) => B): Statement => bind(once(build))

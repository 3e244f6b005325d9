/** A database as an earlier version of the service has left it. */
import { cp, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import BetterSqlite3 from 'better-sqlite3'
import { drizzle } from 'drizzle-orm/better-sqlite3'
import { migrate } from 'drizzle-orm/better-sqlite3/migrator'

/** @param before the first migration that it has not, by the end of its name */
export async function olderDatabase(dir: string, before: string): Promise<BetterSqlite3.Database> {
  const history = path.join(dir, 'drizzle')
  await cp('drizzle/sqlite', history, { recursive: true })
  const journalFile = path.join(history, 'meta/_journal.json')
  const journal = JSON.parse(await readFile(journalFile, 'utf8')) as { entries: { tag: string }[] }
  const at = journal.entries.findIndex(({ tag }) => tag.endsWith(before))
  journal.entries = journal.entries.slice(0, at)
  await writeFile(journalFile, JSON.stringify(journal))
  const sqlite = new BetterSqlite3(path.join(dir, 'recordings.db'))
  migrate(drizzle(sqlite), { migrationsFolder: history })
  return sqlite
}

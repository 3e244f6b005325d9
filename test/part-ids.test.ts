/** What a version that kept no ids of parts has left is given them when its database is opened. */
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import BetterSqlite3 from 'better-sqlite3'
import { drizzle } from 'drizzle-orm/better-sqlite3'
import { migrate } from 'drizzle-orm/better-sqlite3/migrator'
import { expect, test } from 'vitest'
import { openSqlite } from '../src/db/sqlite.ts'
import { uploadById } from '../src/db/uploads.ts'
import { partIdsOf } from '../src/uploads/parts.ts'
import { afterwards } from './support/service.ts'

/** A database as the migrations before the ids of parts made it. */
async function olderDatabase(dir: string): Promise<BetterSqlite3.Database> {
  const history = path.join(dir, 'drizzle')
  await cp('drizzle/sqlite', history, { recursive: true })
  const journalFile = path.join(history, 'meta/_journal.json')
  const journal = JSON.parse(await readFile(journalFile, 'utf8')) as { entries: { tag: string }[] }
  const at = journal.entries.findIndex(({ tag }) => tag.endsWith('_part_ids'))
  journal.entries = journal.entries.slice(0, at)
  await writeFile(journalFile, JSON.stringify(journal))
  const sqlite = new BetterSqlite3(path.join(dir, 'recordings.db'))
  migrate(drizzle(sqlite), { migrationsFolder: history })
  return sqlite
}

const HEADERS = [
  ['final;/api/leads/l/uploads/a /api/leads/l/uploads/b', ['a', 'b']],
  ['final;http://h:1/api/leads/l/uploads/b?q=/z  http://h:1/api/leads/l/uploads/a/', ['b', 'a']],
  ['partial', []],
  [null, []],
] as const

test('final uploads of an older version keep their parts, in their order', async () => {
  const dir = await mkdtemp(path.join(tmpdir(), 'part-ids-'))
  afterwards(() => rm(dir, { recursive: true }))
  const older = await olderDatabase(dir)
  older.exec("insert into leads (id, telecaller_id, created_at_ms, updated_at_ms) values ('l', 't', 1, 1)")
  const insert = older.prepare(
    `insert into uploads (id, door, lead_id, caller_id, caller_role, concat, created_at_ms, last_byte_at_ms)
     values (?, 'tus', 'l', 't', 'telecaller', ?, 1, 1)`,
  )
  for (const [i, [concat]] of HEADERS.entries()) insert.run(`upload-${i}`, concat)
  older.close()
  const db = await openSqlite(path.join(dir, 'recordings.db'))
  for (const [i, [, ids]] of HEADERS.entries()) {
    const row = await uploadById(db, `upload-${i}`)
    expect(row && partIdsOf(row)).toEqual(ids)
  }
  await db.close()
})

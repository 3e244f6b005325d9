/** An empty database of each kind, closed and gone with the test or the file. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { Database } from '../../src/db/database.ts'
import { openPostgres } from '../../src/db/postgres/postgres.ts'
import { openSqlite } from '../../src/db/sqlite.ts'
import { postgres } from './postgres.ts'
import { afterwards } from './service.ts'

export async function sqliteDatabase(): Promise<Database> {
  const dir = await mkdtemp(path.join(tmpdir(), 'database-'))
  const db = await openSqlite(path.join(dir, 'recordings.db'))
  afterwards(async () => {
    await db.close()
    await rm(dir, { recursive: true })
  })
  return db
}

export async function postgresDatabase(): Promise<Database> {
  const url = { text: await (await postgres()).database() }
  const db = await openPostgres({ url, connections: 4, readConnections: 2, statementTimeoutMs: 4_000 })
  afterwards(() => db.close())
  return db
}

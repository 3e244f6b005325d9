import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { openPostgres } from '../../src/db/postgres/postgres.ts'
import { openSqlite } from '../../src/db/sqlite.ts'
import { hasPostgres, postgres } from '../support/postgres.ts'
import { afterwards } from '../support/service.ts'
import { databaseContract } from './database.ts'

databaseContract('SQLite', async () => {
  const dir = await mkdtemp(path.join(tmpdir(), 'database-'))
  const db = await openSqlite(path.join(dir, 'recordings.db'))
  afterwards(async () => {
    await db.close()
    await rm(dir, { recursive: true })
  })
  return db
})

if (hasPostgres) {
  databaseContract('PostgreSQL', async () => {
    const server = await postgres()
    const db = await openPostgres({
      url: { text: await server.database() },
      connections: 4,
      readConnections: 2,
      statementTimeoutMs: 4_000,
    })
    afterwards(() => db.close())
    return db
  })
}

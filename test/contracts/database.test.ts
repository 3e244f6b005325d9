import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { openSqlite } from '../../src/db/sqlite.ts'
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

import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { sql } from 'drizzle-orm'
import { expect, test } from 'vitest'
import { bind, once } from '../src/db/database.ts'
import { leadById } from '../src/db/leads.ts'
import { openForReading, openSqlite } from '../src/db/sqlite.ts'
import { added, idsIn } from './contracts/database.ts'
import { afterwards } from './support/service.ts'

async function open() {
  const dir = await mkdtemp(path.join(tmpdir(), 'database-'))
  const file = path.join(dir, 'recordings.db')
  const db = await openSqlite(file)
  afterwards(async () => {
    await db.close()
    await rm(dir, { recursive: true })
  })
  return { db, file, ids: () => idsIn(db) }
}

test('a fault that undoes the whole transaction strikes its own job alone: the others are run again', async () => {
  const { db, ids } = await open()
  // What SQLite does by itself when the disk is full or fails.
  const striking = bind(
    once((orm) => {
      orm.run(sql`rollback`)
      throw Object.assign(new Error('disk I/O error'), { code: 'SQLITE_IOERR' })
    }),
  )
  const outcomes = await Promise.allSettled([db.write(added('a')), db.write(striking), db.write(added('b'))])
  expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
  expect(outcomes[1]).toMatchObject({ reason: { code: 'SQLITE_IOERR' } })
  expect(await ids()).toEqual(['a', 'b'])
})

test('what was committed is in the file for other readers; a copy is taken in one step while it is written', async () => {
  const { db, file } = await open()
  await db.write(added('a'))
  expect((await stat(file)).mode & 0o777).toBe(0o600)
  const reading = openForReading(file)
  const writing = (async () => {
    for (let i = 0; i < 200; i++) await db.write(added(`more-${i}`))
  })()
  const copy = `${file}.copy`
  await reading.backup(copy)
  await writing
  await reading.close()
  const copied = openForReading(copy)
  const integrity = once((orm) => orm.select({ check: sql<string>`integrity_check` }).from(sql`pragma_integrity_check`))
  expect(await copied.get(integrity)).toEqual({ check: 'ok' })
  expect(await leadById(copied, 'a')).toBeDefined()
  await copied.close()
})

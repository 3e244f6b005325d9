import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { eq, sql } from 'drizzle-orm'
import { expect, test } from 'vitest'
import { holds, must, openDatabase, openForReading, type Statement } from '../src/db/database.ts'
import { leads } from '../src/db/schema.ts'
import { afterwards } from './support/service.ts'

async function open() {
  const dir = await mkdtemp(path.join(tmpdir(), 'database-'))
  const file = path.join(dir, 'recordings.db')
  const db = await openDatabase(file)
  afterwards(async () => {
    await db.close()
    await rm(dir, { recursive: true })
  })
  const insert = (id: string) => db.orm.insert(leads).values({ id, telecallerId: 't', createdAtMs: 1, updatedAtMs: 1 })
  const ids = async () => (await db.orm.select({ id: leads.id }).from(leads).all()).map(({ id }) => id).sort()
  return { db, file, insert, ids }
}

test('writes that wait together share a commit, and each hears of its own outcome', async () => {
  const { db, insert, ids } = await open()
  const refused = new Error('refused')
  const outcomes = await Promise.allSettled([
    db.write(insert('a')),
    db.write(insert('b'), insert('a')),
    db.write(
      insert('c'),
      must(db.orm.delete(leads).where(eq(leads.id, 'none')), () => refused),
    ),
    db.write(insert('d'), insert('e')),
    db.write(
      holds<{ count: number }>(
        () => db.orm.select({ count: sql<number>`count(*)` }).from(leads).get(),
        ({ count }) => count < 3,
        () => refused,
      ),
      insert('f'),
    ),
  ])
  expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected', 'fulfilled', 'rejected'])
  expect(outcomes[2]).toMatchObject({ reason: refused })
  expect(outcomes[3]).toMatchObject({ value: [1, 1] })
  expect(await ids()).toEqual(['a', 'd', 'e'])
})

test('a fault that undoes the whole transaction strikes its own job alone: the others are run again', async () => {
  const { db, insert, ids } = await open()
  // What SQLite does by itself when the disk is full or fails.
  const striking: Statement = {
    run() {
      db.orm.run(sql`rollback`)
      throw Object.assign(new Error('disk I/O error'), { code: 'SQLITE_IOERR' })
    },
  }
  const outcomes = await Promise.allSettled([db.write(insert('a')), db.write(striking), db.write(insert('b'))])
  expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
  expect(outcomes[1]).toMatchObject({ reason: { code: 'SQLITE_IOERR' } })
  expect(await ids()).toEqual(['a', 'b'])
})

test('what was committed is in the file for other readers; a copy is taken in one step while it is written', async () => {
  const { db, file, insert } = await open()
  await db.write(insert('a'))
  expect((await stat(file)).mode & 0o777).toBe(0o600)
  const reading = openForReading(file)
  const writing = (async () => {
    for (let i = 0; i < 200; i++) await db.write(insert(`more-${i}`))
  })()
  const copy = `${file}.copy`
  await reading.backup(copy)
  await writing
  await reading.close()
  const copied = openForReading(copy)
  const check = copied.orm.get<{ integrity_check: string }>(sql`pragma integrity_check`)
  expect(check.integrity_check).toBe('ok')
  expect(copied.orm.select().from(leads).where(eq(leads.id, 'a')).get()).toBeDefined()
  await copied.close()
})

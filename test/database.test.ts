import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { eq, sql } from 'drizzle-orm'
import { expect, test } from 'vitest'
import { bind, holds, kept, must, once, returning, UniqueViolation } from '../src/db/database.ts'
import { leadById } from '../src/db/leads.ts'
import { leads } from '../src/db/schema.ts'
import { openForReading, openSqlite } from '../src/db/sqlite.ts'
import { afterwards } from './support/service.ts'

const count = kept((orm) => orm.select({ count: sql<number>`count(*)` }).from(leads))
const ids = kept((orm) => orm.select({ id: leads.id }).from(leads).orderBy(leads.id))
const removed = (id: string) => bind(once((orm) => orm.delete(leads).where(eq(leads.id, id))))
const added = (id: string) =>
  bind(once((orm) => orm.insert(leads).values({ id, telecallerId: 't', createdAtMs: 1, updatedAtMs: 1 })))

async function open() {
  const dir = await mkdtemp(path.join(tmpdir(), 'database-'))
  const file = path.join(dir, 'recordings.db')
  const db = await openSqlite(file)
  afterwards(async () => {
    await db.close()
    await rm(dir, { recursive: true })
  })
  return { db, file, ids: async () => (await db.all(ids)).map(({ id }) => id) }
}

test('writes that wait together share a commit, and each hears of its own outcome', async () => {
  const { db, ids } = await open()
  const refused = new Error('refused')
  const outcomes = await Promise.allSettled([
    db.write(added('a')),
    db.write(added('b'), added('a')),
    db.write(
      added('c'),
      must(removed('none'), () => refused),
    ),
    db.write(added('d'), added('e')),
    db.write(
      holds(count, undefined, (row) => (row?.count ?? 0) < 3, { error: () => refused }),
      added('f'),
    ),
  ])
  expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected', 'fulfilled', 'rejected'])
  expect(outcomes[1]).toMatchObject({ reason: expect.any(UniqueViolation) })
  expect(outcomes[2]).toMatchObject({ reason: refused })
  expect(outcomes[3]).toMatchObject({ value: [1, 1] })
  expect(await ids()).toEqual(['a', 'd', 'e'])
})

test('a statement with RETURNING hands over what it wrote, and counts as many rows as changed', async () => {
  const { db } = await open()
  const taken: string[] = []
  const rename = (id: string) =>
    returning(
      once((orm) =>
        orm
          .update(leads)
          .set({ name: `name of ${id}` })
          .where(eq(leads.id, id))
          .returning(),
      ),
      undefined,
      (rows) => taken.push(...rows.map(({ name }) => String(name))),
    )
  expect(await db.write(added('a'), rename('a'), rename('none'))).toEqual([1, 1, 0])
  expect(taken).toEqual(['name of a'])
  await expect(db.write(must(rename('none'), () => new Error('no such lead')))).rejects.toThrow('no such lead')
})

test('a condition may throw an error of its own, and the whole transaction is undone', async () => {
  const { db, ids } = await open()
  const own = new Error('its own')
  const outcome = db.write(
    added('a'),
    holds(count, undefined, () => {
      throw own
    }),
  )
  await expect(outcome).rejects.toBe(own)
  expect(await ids()).toEqual([])
})

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

/** What every database must do with queries and statements: one suite, run over each. */
import { eq, sql } from 'drizzle-orm'
import { describe, expect, test } from 'vitest'
import { bind, type Database, holds, kept, must, once, returning, UniqueViolation } from '../../src/db/database.ts'
import { leads } from '../../src/db/schema.ts'

const count = kept((orm) => orm.select({ count: sql<number>`count(*)` }).from(leads))
const ids = kept((orm) => orm.select({ id: leads.id }).from(leads).orderBy(leads.id))
const removed = (id: string) => bind(once((orm) => orm.delete(leads).where(eq(leads.id, id))))
export const added = (id: string) =>
  bind(once((orm) => orm.insert(leads).values({ id, telecallerId: 't', createdAtMs: 1, updatedAtMs: 1 })))
export const idsIn = async (db: Database) => (await db.all(ids)).map(({ id }) => id)

/** @param make opens an empty database, which is closed after the file */
export function databaseContract(name: string, make: () => Promise<Database>): void {
  const open = async () => {
    const db = await make()
    return { db, ids: () => idsIn(db) }
  }

  describe(`the database on ${name}`, () => {
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
      expect(outcomes.map(({ status }) => status)).toEqual([
        'fulfilled',
        'rejected',
        'rejected',
        'fulfilled',
        'rejected',
      ])
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

    test('a query is asked with its values, and gives nothing where there is no row', async () => {
      const { db, ids } = await open()
      const named = kept((orm) =>
        orm
          .select({ id: leads.id })
          .from(leads)
          .where(eq(leads.id, sql.placeholder('id'))),
      )
      expect(await db.get(named, { id: 'a' })).toBeUndefined()
      expect(await ids()).toEqual([])
      await db.write(added('a'), added('b'))
      expect(await db.get(named, { id: 'a' })).toEqual({ id: 'a' })
      expect(await db.all(named, { id: 'b' })).toEqual([{ id: 'b' }])
    })

    test('a write of nothing is one, and a database that answers a ping is there', async () => {
      const { db } = await open()
      expect(await db.write()).toEqual([])
      await db.ping()
    })
  })
}

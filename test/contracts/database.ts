/** What every database must do with queries and statements: one suite, run over each. */
import { eq, sql } from 'drizzle-orm'
import { describe, expect, test } from 'vitest'
import { callLogAdded } from '../../src/db/call-logs.ts'
import {
  bind,
  type Database,
  holds,
  kept,
  must,
  once,
  returning,
  type Statement,
  UniqueViolation,
} from '../../src/db/database.ts'
import { recordingAdded, recordingsAfter, recordingTotals } from '../../src/db/recordings.ts'
import { leads, type Recording } from '../../src/db/schema.ts'
import { asServiceError } from '../../src/errors.ts'

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
    test('writes at the same time are done or undone each by itself, and each hears of its own outcome', async () => {
      const { db, ids } = await open()
      const refused = new Error('refused')
      await db.write(added('a'))
      const outcomes = await Promise.allSettled([
        db.write(added('g')),
        db.write(added('b'), added('a')),
        db.write(
          added('c'),
          must(removed('none'), () => refused),
        ),
        db.write(added('d'), added('e')),
        db.write(
          holds(count, undefined, (row) => row?.count === 0, { error: () => refused }),
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
      expect(await ids()).toEqual(['a', 'd', 'e', 'g'])
    })

    test('a row that breaks a rule of its table is a fault of ours; one whose key another has may go well when asked again', async () => {
      const { db } = await open()
      const nameless = { id: 'a', telecallerId: null as unknown as string, createdAtMs: 1, updatedAtMs: 1 }
      const call = {
        id: 'a',
        startedAtMs: null,
        durationSeconds: null,
        direction: null,
        createdAtMs: 1,
        updatedAtMs: 1,
      }
      const told = (...statements: Statement[]) => db.write(...statements).catch(asServiceError)
      expect(await told(bind(once((orm) => orm.insert(leads).values(nameless))))).toMatchObject({ code: 'internal' })
      expect(await told(callLogAdded({ ...call, leadId: 'nobody' }))).toMatchObject({ code: 'internal' })
      expect(await told(added('a'), added('a'))).toMatchObject({ code: 'unavailable', status: 503 })
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

    test('the first statement whose condition does not hold says what became of all', async () => {
      const { db, ids } = await open()
      const first = new Error('the first')
      await db.write(added('a'))
      const outcome = db.write(
        must(removed('none'), () => first),
        added('a'),
        must(removed('none'), () => new Error('the last')),
      )
      await expect(outcome).rejects.toBe(first)
      expect(await ids()).toEqual(['a'])
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

    test('of transactions that look at the same thing alone, none passes on what another has not written yet', async () => {
      const { db, ids } = await open()
      const refused = new Error('refused')
      const outcomes = await Promise.allSettled(
        ['a', 'b', 'c', 'd', 'e', 'f'].map((id) =>
          db.write(
            holds(count, undefined, (row) => (row?.count ?? 0) < 2, { alone: 'leads', error: () => refused }),
            added(id),
          ),
        ),
      )
      expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(2)
      expect(await ids()).toHaveLength(2)
    })

    test('numbers, fractions, truth and absence come back as they were written', async () => {
      const { db } = await open()
      const row = { id: 'r', uploadId: 'u', leadId: 'a', callLogId: 'c', telecallerId: 't', filename: 'ü😀.wav' }
      const rest = { path: 'p', contentType: 'audio/wav', size: 2 ** 45, sha256: 'x', durationSeconds: 1.25 }
      const more = { mediaCheck: 'ok', playsInBrowsers: false, createdAtMs: 1_795_332_351_083 } as const
      const recording: Recording = { ...row, ...rest, ...more }
      await db.write(
        added('a'),
        callLogAdded({
          ...{ id: 'c', leadId: 'a', startedAtMs: null, durationSeconds: null, direction: null },
          ...{ createdAtMs: 1, updatedAtMs: 1 },
        }),
        recordingAdded(recording, () => {}),
        recordingAdded({ ...recording, id: 's', uploadId: 'v', path: 'q', playsInBrowsers: null }, () => {}),
      )
      const [r, s] = await recordingsAfter(db, '', 2)
      expect(r).toEqual(recording)
      expect(s).toMatchObject({ id: 's', playsInBrowsers: null })
      expect(await recordingTotals(db)).toEqual({ count: 2, bytes: 2 ** 46 })
    })

    test('ids are in the order of their bytes', async () => {
      const { db, ids } = await open()
      await db.write(...['b', 'B', 'a', '_', '-', 'A', '1'].map(added))
      expect(await ids()).toEqual(['-', '1', 'A', 'B', '_', 'a', 'b'])
    })

    test('a write of nothing is one, and a database that answers a ping is there', async () => {
      const { db } = await open()
      expect(await db.write()).toEqual([])
      await db.ping()
    })
  })
}

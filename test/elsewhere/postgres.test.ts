/**
 * What PostgreSQL is asked that a file is not: connections that are lost, a server that is silent or starts anew, several
 * instances. Without the package postgresql it is skipped.
 */
import { eq, sql } from 'drizzle-orm'
import pg from 'pg'
import { describe, expect, test } from 'vitest'
import { openExisting, openTables } from '../../src/commands/existing.ts'
import { readConfig } from '../../src/config/config.ts'
import { type Database, kept, once, returning } from '../../src/db/database.ts'
import { openPostgres, type PostgresDatabase } from '../../src/db/postgres/postgres.ts'
import { leads, uploads } from '../../src/db/schema.ts'
import { offsetReached, uploadAdded } from '../../src/db/uploads.ts'
import { whatToDo } from '../../src/process/start-faults.ts'
import { added, idsIn } from '../contracts/database.ts'
import { hasPostgres, postgres } from '../support/postgres.ts'
import { postgresLine } from '../support/postgres-line.ts'
import { afterwards } from '../support/service.ts'

const WAIT_MS = 1_500
const SECRETS = {
  RECORDINGS_JWT_SECRET: 'a secret of the tests, at least thirty-two bytes',
  RECORDINGS_PLAYBACK_LINK_SECRET: 'another secret of the tests, at least thirty-two bytes',
}

async function open(url: string, statementTimeoutMs = WAIT_MS): Promise<PostgresDatabase> {
  const db = await openPostgres({ url: { text: url }, connections: 4, readConnections: 2, statementTimeoutMs })
  afterwards(() => db.close())
  return db
}

/** A database, and the same over a line that can be bad. */
async function overLine(statementTimeoutMs?: number) {
  const url = await (await postgres()).database()
  const good = await open(url, 10_000)
  const line = await postgresLine(url)
  return { good, line, db: await open(line.url, statementTimeoutMs) }
}

const busy = expect.objectContaining({ code: 'busy' })
const rename = (id: string, take: (name: string | null) => void) =>
  returning(
    once((orm) =>
      orm
        .update(leads)
        .set({ name: sql`coalesce(${leads.name}, '') || 'x'` })
        .where(eq(leads.id, id))
        .returning(),
    ),
    undefined,
    (rows: { name: string | null }[]) => rows.forEach(({ name }) => void take(name)),
  )

describe.skipIf(!hasPostgres)('PostgreSQL (skipped without the package postgresql)', () => {
  test.for(['answer', 'commit'] as const)(
    'a commit whose %s is lost is done once, and its caller hears of it',
    async (what) => {
      const { db, good, line } = await overLine(4_000)
      const told: unknown[] = []
      await db.write(added('a'))
      for (let i = 1; i <= 5; i++) {
        line.lose = { count: 1, what }
        const changes = await db.write(
          added(`lead-${i}`),
          rename('a', (name) => told.push(name)),
        )
        expect(changes).toEqual([1, 1])
        expect(line.lose.count).toBe(0)
      }
      expect(told).toEqual(['x', 'xx', 'xxx', 'xxxx', 'xxxxx'])
      expect(await idsIn(good)).toEqual(['a', 'lead-1', 'lead-2', 'lead-3', 'lead-4', 'lead-5'])
    },
  )

  test('a commit that can’t be looked up is told as busy, and never tried again', async () => {
    const { db, good, line } = await overLine(500)
    await db.write(added('a'))
    line.lose = { count: 1, what: 'answer', thenSilent: true }
    await expect(db.write(rename('a', () => {}))).rejects.toEqual(busy)
    line.isSilent = false
    line.cut()
    const names = kept((orm) => orm.select({ name: leads.name }).from(leads))
    expect(await good.all(names)).toEqual([{ name: 'x' }])
  })

  test('a database that is silent is told as busy in time, and is used again when it answers', async () => {
    const { db, line } = await overLine()
    await db.write(added('a'))
    line.isSilent = true
    const beganAt = performance.now()
    const outcomes = await Promise.allSettled([db.write(added('b')), idsIn(db), db.ping()])
    expect(performance.now() - beganAt).toBeLessThan(3 * WAIT_MS)
    expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected'])
    expect(outcomes.slice(0, 2)).toEqual([
      expect.objectContaining({ reason: busy }),
      expect.objectContaining({ reason: busy }),
    ])
    line.isSilent = false
    await expect.poll(() => idsIn(db).catch(() => []), { timeout: 10_000 }).toContain('a')
    await db.write(added('c'))
    expect(await idsIn(db)).toEqual(['a', 'c'])
  })

  test('a statement that takes too long is ended, and told as busy', async () => {
    const { db, good } = await overLine()
    const holder = good.session()
    await holder.connect()
    await holder.query('begin; lock table leads in exclusive mode')
    await expect(db.write(added('a'))).rejects.toEqual(busy)
    await holder.end()
    await db.write(added('a'))
  })

  test('what was acknowledged before a crash of PostgreSQL is there after it, and nothing is there twice', async () => {
    const server = await postgres()
    const db = await open(await server.database(), 8_000)
    let isOver = false
    let next = 0
    const acknowledged: string[] = []
    const refused: unknown[] = []
    async function writing() {
      while (!isOver) {
        const id = `lead-${next++}`
        await db
          .write(
            added(id),
            rename(id, () => {}),
          )
          .then(
            () => acknowledged.push(id),
            (error) => refused.push(error),
          )
      }
    }
    const writers = Promise.all(Array.from({ length: 12 }, writing))
    for (let i = 0; i < 3; i++) {
      const before = acknowledged.length
      await expect.poll(() => acknowledged.length, { timeout: 20_000 }).toBeGreaterThan(before + 50)
      await server.crash()
      await server.start()
    }
    isOver = true
    await writers
    // Done twice would be a row of that key already.
    for (const error of refused) expect(error).toEqual(busy)
    const ids = new Set(await idsIn(db))
    expect(acknowledged.filter((id) => !ids.has(id))).toEqual([])
    const twice = kept((orm) => orm.select({ name: leads.name }).from(leads).where(sql`${leads.name} <> 'x'`))
    expect(await db.all(twice)).toEqual([])
  })

  test('a lost connection is nobody’s fault: reads and writes go on over another', async () => {
    const { db, line } = await overLine()
    for (let i = 0; i < 10; i++) {
      const going = Promise.all([db.write(added(`lead-${i}`)), idsIn(db), db.write(added(`more-${i}`))])
      if (i % 2 === 0) line.cut()
      await going
    }
    expect(await idsIn(db)).toHaveLength(20)
  })

  test('four instances that start at once bring the tables up to date together', async () => {
    const url = await (await postgres()).database()
    const all = await Promise.all([1, 2, 3, 4].map(() => open(url, 10_000)))
    await Promise.all(all.map((db, i) => db.write(added(`lead-${i}`))))
    expect(await idsIn(all[0] as Database)).toHaveLength(4)
  })

  test('a database of another encoding is refused at the start, in a sentence', async () => {
    const server = await postgres()
    const admin = new pg.Client(await server.database())
    await admin.connect()
    await admin.query(`create database latin encoding 'LATIN1' locale 'C' template template0 locale_provider libc`)
    await admin.end()
    const url = `postgres://postgres@127.0.0.1:${server.port}/latin`
    await expect(open(url)).rejects.toThrow('LATIN1')
  })

  test('one that is not there is told as busy, with the reason, and without its password', async () => {
    const outcome = open('postgres://user:the-password@127.0.0.1:1/calls')
    const error = await outcome.catch((fault: Error) => fault)
    expect(error).toEqual(busy)
    expect((error as Error).cause).toMatchObject({ code: 'ECONNREFUSED' })
    expect(JSON.stringify([error, (error as Error).cause, (error as Error).stack])).not.toContain('the-password')
  })

  test.for([
    [
      'a user that it does not know',
      (url: URL) => Object.assign(url, { username: 'stranger', password: 'the-password' }),
      /refuses the user/,
    ],
    ['no such database', (url: URL) => Object.assign(url, { pathname: '/none' }), /has no such database/],
    ['no server', (url: URL) => Object.assign(url, { port: '1' }), /ECONNREFUSED/],
  ] as const)('a start with %s says so in a sentence, and never the password', async ([, change, said]) => {
    const url = change(new URL(await (await postgres()).database()))
    const env = { NODE_ENV: 'test', ...SECRETS, RECORDINGS_DATABASE_URL: url.href }
    const error = await open(url.href).catch((fault: Error) => fault)
    const sentence = whatToDo(error, readConfig(env))
    expect(sentence).toMatch(said)
    expect(sentence).not.toContain('the-password')
  })

  test.for([
    ['newer', '+ 1', /^postgres.* is of a newer version .*: run the commands of that version$/],
    ['older', '- 1', /^postgres.* is of an older version .*: start the server once/],
  ] as const)('a command is refused tables of a version that is %s, in a sentence', async ([, change, said]) => {
    const url = await (await postgres()).database()
    const db = await open(url)
    await db.query({
      text: `update drizzle.__drizzle_migrations set created_at = created_at ${change} where id =
        (select max(id) from drizzle.__drizzle_migrations)`,
      values: [],
    })
    const env = { NODE_ENV: 'test', ...SECRETS, RECORDINGS_DATABASE_URL: url }
    await expect(openTables(readConfig(env))).rejects.toThrow(said)
  })

  test.for([
    ['no tables', (url: URL) => url, /lacks tables of this version: start the server once/],
    ['no such database', (url: URL) => Object.assign(url, { pathname: '/none' }), /has no such database/],
  ] as const)('a command with %s says what to do', async ([, change, said]) => {
    const url = change(new URL(await (await postgres()).database()))
    const config = readConfig({ NODE_ENV: 'test', ...SECRETS, RECORDINGS_DATABASE_URL: url.href })
    const opening = openTables(config).then((tables) => openExisting(config, tables))
    await expect(opening).rejects.toThrow(said)
  })

  test('commits of offsets stay in their page: no index is written', async () => {
    const url = await (await postgres()).database()
    const db = await open(url)
    const row = { id: 'u', door: 'tus', leadId: 'a', callLogId: null, callerId: 'c', callerRole: 'telecaller' } as const
    const none = { filename: null, metadata: null, key: null, recordingId: null, concat: null, partIds: null } as const
    const more = { finalId: null, expectedSha256: null, idempotencyKey: null, idempotencyFingerprint: null } as const
    const rest = { length: 1_000, offset: 0, state: 'receiving', createdAtMs: 1, lastByteAtMs: 1 } as const
    await db.write(added('a'), uploadAdded({ ...row, ...none, ...more, ...rest }))
    for (let i = 1; i <= 100; i++)
      await db.write(offsetReached({ id: 'u', offset: i, expected: i - 1, lastByteAtMs: i }))
    const stored = kept((orm) => orm.select({ offset: uploads.offset }).from(uploads))
    expect(await db.all(stored)).toEqual([{ offset: 100 }])
    // Counts are told when a session ends or is idle for a while.
    await expect
      .poll(
        async () =>
          (
            await db.query({
              text: `select n_tup_upd::int as updates, n_tup_hot_upd::int as hot from pg_stat_user_tables where relname = 'uploads'`,
              values: [],
            })
          ).rows[0],
        { timeout: 20_000 },
      )
      .toEqual({ updates: 100, hot: 100 })
  })
})

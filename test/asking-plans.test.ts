/** How the databases go about the questions: by an index that bounds what they look at, and never through a whole table. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import Sqlite from 'better-sqlite3'
import { is, Placeholder } from 'drizzle-orm'
import { drizzle as overSqlite } from 'drizzle-orm/better-sqlite3'
import { drizzle as overPostgres } from 'drizzle-orm/node-postgres'
import pg from 'pg'
import { beforeAll, describe, expect, test } from 'vitest'
import { callLogsPage } from '../src/db/call-logs-asked.ts'
import type { Orm, Query, Reading } from '../src/db/database.ts'
import { countedLeadById, leadsPage } from '../src/db/leads-asked.ts'
import { openPostgres } from '../src/db/postgres/postgres.ts'
import { type RecordingsAsked, recordingsOfCalls, recordingsPage } from '../src/db/recordings-asked.ts'
import { openSqlite } from '../src/db/sqlite.ts'
import { statisticsOf } from '../src/db/statistics.ts'
import { hasPostgres, postgres } from './support/postgres.ts'

interface Asked {
  sql: string
  params: unknown[]
}

/** Notes what is asked. @param hasPlaces whether there is a row at each place that a page could end at */
function noting(orm: Orm, hasPlaces: boolean): { db: Reading; asked: Asked[] } {
  const asked: Asked[] = []
  const note = (query: Query, values: Record<string, unknown> = {}) => {
    const { sql, params } = (query.build(orm) as unknown as { toSQL(): Asked }).toSQL()
    const given = (param: unknown) => (is(param, Placeholder) ? values[param.name] : param)
    asked.push({ sql, params: params.map(given) })
    return sql
  }
  const get = (query: Query, values?: Record<string, unknown>) =>
    / offset /.test(note(query, values)) && hasPlaces ? PLACE : undefined
  const all = (query: Query, values?: Record<string, unknown>) => {
    note(query, values)
    return []
  }
  return { db: { get, all } as unknown as Reading, asked }
}

const PLACE = { value: 500_000, id: 'r' }
const newer = { value: 505_000, id: 'r' }
const older = { value: 495_000, id: 'r' }
const within = { sinceMs: 1_000, untilMs: 950_000 }
const none = { after: undefined, limit: 50 }

const RECORDINGS: [string, RecordingsAsked][] = [
  ['all', {}],
  ['of a lead', { leadId: 'l1' }],
  ['of a lead of one’s own', { leadId: 'l1', ownerId: 't1' }],
  ['of a call', { callLogId: 'c1', ownerId: 't1' }],
  ['of a period', within],
  ['of a telecaller', { telecallerId: 't1', ...within }],
  ['with these bytes', { sha256: 's1', leadId: 'l1', telecallerId: 't1' }],
  ['of one’s own', { ownerId: 't1' }],
  ['by their call', { ...within, callSinceMs: 1, callUntilMs: 9, direction: 'inbound' }],
  ['with everything asked', { telecallerId: 't1', ownerId: 't1', minSeconds: 1, maxSeconds: 9, text: 'x' }],
]
const CALLS = { leadId: 'l1', hasRecording: false, ...within }

const QUESTIONS: [string, (db: Reading) => unknown][] = [
  ...RECORDINGS.flatMap(([what, asked]): [string, (db: Reading) => unknown][] => [
    [`recordings ${what}, newest first`, (db) => recordingsPage(db, asked, 'newest', { after: newer, limit: 50 })],
    [`recordings ${what}, oldest first`, (db) => recordingsPage(db, asked, 'oldest', { after: older, limit: 50 })],
  ]),
  ...RECORDINGS.slice(0, 4).map(([what, asked]): [string, (db: Reading) => unknown] => [
    `recordings ${what}, the first page`,
    (db) => recordingsPage(db, asked, 'newest', none),
  ]),
  ['leads', (db) => leadsPage(db, { text: 'x' }, { after: newer, limit: 50 })],
  ['leads of a telecaller', (db) => leadsPage(db, { telecallerId: 't1' }, none)],
  ['leads by their changes', (db) => leadsPage(db, { telecallerId: 't1', updatedSinceMs: 5 }, none)],
  ['a lead', (db) => countedLeadById(db, 'l1')],
  ['calls', (db) => callLogsPage(db, CALLS, { after: newer, limit: 50 })],
  ['calls, the first page', (db) => callLogsPage(db, { leadId: 'l1', ownerId: 't1' }, none)],
  ['recordings of calls', (db) => recordingsOfCalls(db, ['c1', 'c2', 'c3'])],
  ['recordings of a call', (db) => recordingsOfCalls(db, ['c1'])],
]
const PERIOD = { sinceMs: 490_000, untilMs: 500_000 }
const FIGURES = (['telecaller', 'day', 'lead'] as const).map((grouping): [string, (db: Reading) => unknown] => [
  `figures by ${grouping}`,
  (db) => statisticsOf(db, { grouping, ...PERIOD }),
])
const OWN_FIGURES = (['telecaller', 'day', 'lead'] as const).map((grouping): [string, (db: Reading) => unknown] => [
  `figures by ${grouping} of one’s own`,
  (db) => statisticsOf(db, { grouping, ownerId: 't1', ...PERIOD }),
])

async function askedBy(orm: Orm, ask: (db: Reading) => unknown, hasPlaces: boolean): Promise<Asked[]> {
  const { db, asked } = noting(orm, hasPlaces)
  await ask(db)
  expect(asked.length).toBeGreaterThan(0)
  return asked
}

describe('SQLite', () => {
  let sqlite: Sqlite.Database
  beforeAll(async () => {
    const dir = mkdtempSync(path.join(tmpdir(), 'plans-'))
    const file = path.join(dir, 'recordings.db')
    await (await openSqlite(file)).close()
    sqlite = new Sqlite(file)
    return () => {
      sqlite.close()
      rmSync(dir, { recursive: true })
    }
  })

  const plansOf = async (ask: (db: Reading) => unknown, hasPlaces: boolean) =>
    (await askedBy(overSqlite(sqlite), ask, hasPlaces)).map(({ sql, params }) => {
      const lines = sqlite.prepare(`explain query plan ${sql}`).all(...params) as { detail: string }[]
      return { sql, lines: lines.map(({ detail }) => detail) }
    })

  test.for(QUESTIONS)('%s: enters an index by a bound, or goes along one, and sorts nothing', async ([, ask]) => {
    for (const { sql, lines } of await plansOf(ask, true)) {
      const isBetween = sql.includes('(?, ?)')
      const wrong = lines.filter((line) => (isBetween ? /^SCAN/ : /^SCAN (?!.* USING (COVERING )?INDEX)/).test(line))
      expect([sql, wrong, lines.filter((line) => line.includes('FOR ORDER BY'))]).toEqual([sql, [], []])
    }
  })

  test.for([...FIGURES, ...OWN_FIGURES])('%s: look at no more than the period', async ([, ask]) => {
    for (const { sql, lines } of await plansOf(ask, false)) {
      expect([sql, lines.filter((line) => /^SCAN/.test(line))]).toEqual([sql, []])
    }
  })
})

/** A million milliseconds of recordings, so that the planner has something to choose between. */
const SEED = `
  insert into leads select 'l' || n, 't' || n % 50, null, n, n from generate_series(1, 2000) n;
  insert into call_logs select 'c' || n, 'l' || 1 + n % 2000, case when n % 2 = 0 then n * 50 end, null, null, n * 50, 0
    from generate_series(1, 20000) n;
  insert into recordings (id, upload_id, lead_id, call_log_id, telecaller_id, filename, path, content_type, size, sha256,
    media_check, created_at_ms)
    select 'r' || n, 'u' || n, 'l' || 1 + n % 2000, 'c' || n, 't' || n % 50, 'f', 'p' || n, 'audio/wav', 1, 's' || n, 'ok',
    n * 50 from generate_series(1, 20000) n;
  analyze`

describe.skipIf(!hasPostgres)('PostgreSQL (skipped without the package postgresql)', () => {
  let client: pg.Client
  beforeAll(async () => {
    const url = await (await postgres()).database()
    const settings = { connections: 1, readConnections: 1, statementTimeoutMs: 60_000 }
    await (await openPostgres({ url: { text: url }, ...settings })).close()
    client = new pg.Client(url)
    await client.connect()
    await client.query(SEED)
    return () => client.end()
  })

  test.for([...QUESTIONS, ...FIGURES])('%s: goes through no table', async ([name, ask]) => {
    const orm = overPostgres(client) as unknown as Orm
    for (const { sql, params } of await askedBy(orm, ask, !name.startsWith('figures'))) {
      const { rows } = await client.query(`explain ${sql}`, params)
      const lines = rows.map((row) => row['QUERY PLAN'] as string)
      expect([sql, lines.filter((line) => /Seq Scan on (recordings|uploads|call_logs)/.test(line))]).toEqual([sql, []])
    }
  })

  test('counts of leads are the triggers’', async () => {
    const counted = await client.query('select sum(recordings) as all from lead_totals')
    expect(Number(counted.rows[0].all)).toBe(20_000)
    await client.query(
      "update recordings set lead_id = 'l2' where id = 'r1999'; delete from recordings where id = 'r3999'",
    )
    const parts =
      "select sum(recordings)::int as n from lead_totals where lead_id in ('l1', 'l2', 'l2000') group by lead_id"
    expect((await client.query(`${parts} order by lead_id`)).rows).toEqual([{ n: 10 }, { n: 11 }, { n: 8 }])
  })
})

/**
 * How the cost grows: with the requests at once, and with the recordings that are there already.
 */
import { linkSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import BetterSqlite3 from 'better-sqlite3'
import { MIB, wav } from './bodies.ts'
import type { Connection } from './connection.ts'
import { figure, median, table, withSpread } from './figures.ts'
import { type Load, type Operation, type Run, run } from './load.ts'
import { measure, type Options } from './measure.ts'
import { abilitiesOfOurs, asSupervisor, asTelecaller, LEAD, ours, RECORDINGS, startOurs, TELECALLER } from './ours.ts'
import { sendFile, tusExpress } from './peers.ts'
import { perSecond, type Work } from './work.ts'

/** Uploads and ranges, by how many are at once. */
export async function withConnections(options: Options, say: (line?: string) => void): Promise<unknown> {
  const timed = options.quick ? { seconds: 0.3 } : { seconds: 0.5, slices: 4 }
  const call = wav(MIB)
  const results: Record<string, unknown> = {}
  const rows = [
    ['at once', 'uploads/s', 'p99 ms', 'peak MiB', '@tus/server', 'ranges/s', 'p99 ms', 'sendFile', 'others'],
  ]
  for (const connections of options.quick ? [1, 16] : [1, 16, 64, 256]) {
    const load = { connections, ...timed }
    const common = { what: '', unit: '', figureOf: perSecond, load }
    const uploads: Work = { ...common, name: 'uploads', operation: (can) => can.inTwo?.(call), peers: [tusExpress] }
    const ranges: Work = {
      ...common,
      name: 'ranges',
      operation: (can) => can.ranges?.(),
      keeps: true,
      peers: [sendFile],
    }
    const [sent, sentToPeer] = await measure(uploads, [ours, ...uploads.peers], options)
    const [played, playedByPeer] = await measure(ranges, [ours, ...ranges.peers], options)
    if (!sent || !sentToPeer || !played || !playedByPeer) throw new Error('a contestant is missing')
    const p99 = (runs: readonly Run[]) => figure(median(runs.map((each) => each.p99Ms)))
    rows.push([
      String(connections),
      withSpread(sent.figures),
      p99(sent.runs),
      figure(Math.max(...sent.runs.map((each) => each.peakMiB))),
      figure(median(sentToPeer.figures)),
      withSpread(played.figures),
      p99(played.runs),
      figure(median(playedByPeer.figures)),
      figure(
        Math.max(...[sent, sentToPeer, played, playedByPeer].flatMap(({ runs }) => runs.map((r) => r.otherCores))),
      ),
    ])
    results[connections] = { sent, sentToPeer, played, playedByPeer }
  }
  say(table(rows))
  return results
}

/** Half of the recordings are of one lead, the others of so many. */
const OTHER_LEADS = 1_000
const FIRST_AT_MS = Date.UTC(2026, 0, 1)
const EVERY_MS = 1_000
const SEEDED_BYTES = 64 * 1024

const SEED = `
WITH RECURSIVE number(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n + 1 < @leads)
INSERT INTO leads (id, telecaller_id, created_at_ms, updated_at_ms)
SELECT 'lead-' || n, 'telecaller-' || (n % 100), @firstMs, @firstMs FROM number;

CREATE TEMP TABLE seed AS
WITH RECURSIVE number(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n + 1 < @count)
SELECT n, iif(n % 2 = 0, @lead, 'lead-' || (n / 2 % @leads)) AS lead_id, 'call-' || n AS call_log_id,
  'recording-' || n AS recording_id, 'upload-' || n AS upload_id, 'seeded/' || n || '.wav' AS path,
  @firstMs + n * @everyMs AS at_ms
FROM number;

INSERT INTO call_logs (id, lead_id, created_at_ms, updated_at_ms) SELECT call_log_id, lead_id, at_ms, at_ms FROM seed;

INSERT INTO uploads (id, door, lead_id, call_log_id, caller_id, caller_role, filename, length, offset, state, key,
  recording_id, created_at_ms, last_byte_at_ms)
SELECT upload_id, 'tus', lead_id, call_log_id, @telecaller, 'telecaller', 'call.wav', @bytes, @bytes, 'finished', path,
  recording_id, at_ms, @nowMs FROM seed;

INSERT INTO recordings (id, upload_id, lead_id, call_log_id, telecaller_id, filename, path, content_type, size, sha256,
  media_check, created_at_ms)
SELECT recording_id, upload_id, lead_id, call_log_id, @telecaller, 'call.wav', path, 'audio/wav', @bytes,
  lower(hex(randomblob(32))), 'ok', at_ms FROM seed;

DROP TABLE seed;
`

/** Recordings as uploads leave them, each with its call log, its finished upload, and a file (one for all, linked). */
function seed(dataDir: string, count: number): void {
  const database = new BetterSqlite3(path.join(dataDir, 'recordings.db'))
  database.pragma('foreign_keys = ON')
  const values = {
    lead: LEAD,
    telecaller: TELECALLER,
    // A number is a REAL to SQLite, and a part of a name would end in `.0`.
    count: BigInt(count),
    leads: BigInt(OTHER_LEADS),
    firstMs: BigInt(FIRST_AT_MS),
    everyMs: BigInt(EVERY_MS),
    nowMs: BigInt(Date.now()),
    bytes: BigInt(SEEDED_BYTES),
  }
  database.transaction(() => {
    for (const statement of SEED.split(/;\n/).filter((text) => text.trim() !== '')) {
      database.prepare(statement).run(values)
    }
  })()
  database.close()

  const folder = path.join(dataDir, 'recordings', 'seeded')
  mkdirSync(folder)
  writeFileSync(path.join(folder, '0.wav'), wav(SEEDED_BYTES))
  for (let n = 1; n < count; n++) linkSync(path.join(folder, '0.wav'), path.join(folder, `${n}.wav`))
}

const pageFrom = (n: number) => Buffer.from(`${FIRST_AT_MS + n * EVERY_MS} recording-${n}`).toString('base64url')

interface Step {
  name: string
  load: Load
  operation: Operation
}

const atMs = (n: number) => new Date(FIRST_AT_MS + n * EVERY_MS).toISOString()

/** What a supervisor asks, some of it of rows that are few or none. */
function questions(headers: Record<string, string>, load: Load): Step[] {
  const asked: [name: string, path: string][] = [
    ['leads', '/api/leads?limit=200'],
    ['leads, by a name that none has', '/api/leads?q=none'],
    ['a lead', `/api/leads/${LEAD}`],
    ['calls', `/api/leads/${LEAD}/call-logs`],
    ['calls without a recording, of which there are none', `/api/leads/${LEAD}/call-logs?has_recording=false`],
    ['recordings', '/api/recordings'],
    ['recordings, oldest first', '/api/recordings?sort=oldest'],
    ['recordings of a period', `/api/recordings?since=${atMs(100)}&until=${atMs(190)}`],
    ['recordings of a telecaller', `/api/recordings?telecaller_id=${TELECALLER}`],
    ['recordings with these bytes', `/api/recordings?sha256=${'0'.repeat(64)}`],
    [
      'recordings that no filter leaves',
      '/api/recordings?direction=inbound&min_seconds=1&q=none&call_since=2026-01-01T00:00:00Z',
    ],
    ['recordings, longest first, of a period', `/api/recordings?sort=longest&until=${atMs(5_000)}`],
    ...['telecaller', 'day', 'lead'].map((by): [string, string] => [
      `figures by ${by}, of 10,000 recordings`,
      `/api/statistics?until=${atMs(10_000)}&group_by=${by}`,
    ]),
  ]
  return asked.map(([name, path]) => ({
    name,
    load,
    operation: async (connection) => {
      await connection.ask(200, { method: 'GET', path, headers, keep: true })
      return async () => {}
    },
  }))
}

async function stepsOf(port: number, dataDir: string, count: number, seconds: number): Promise<Step[]> {
  const headers = await asTelecaller()
  const anyOfMine = () => 2 * Math.floor((Math.random() * count) / 2)
  const get = async (connection: Connection, address: string, range?: string) =>
    connection.ask(range ? 206 : 200, {
      method: 'GET',
      path: RECORDINGS + address,
      headers: range ? { ...headers, Range: range } : headers,
      keep: true,
    })
  /** @param first the newest that must be on the page */
  const listed =
    (addressOf: () => { query: string; first?: string; length: number }): Operation =>
    async (connection) => {
      const { query, first, length } = addressOf()
      const { body } = await get(connection, `?${query}`)
      return async () => {
        const ids = JSON.parse(body.toString()).recordings.map(({ id }: { id: string }) => id)
        if (ids.length !== length || (first && ids[0] !== first)) throw new Error(`${query} listed ${ids}`)
      }
    }
  const one = { connections: 1, seconds }
  const { inTwo } = await abilitiesOfOurs(port, dataDir, Buffer.alloc(0))
  return [
    { name: 'list, first page', load: one, operation: listed(() => ({ query: 'limit=50', length: 50 })) },
    {
      name: 'list, a page in the middle',
      load: one,
      operation: listed(() => {
        const n = 2 * Math.floor(count / 4)
        return { query: `limit=50&cursor=${pageFrom(n)}`, first: `recording-${n - 2}`, length: 50 }
      }),
    },
    {
      name: 'list, the last page',
      load: one,
      operation: listed(() => ({ query: `limit=50&cursor=${pageFrom(100)}`, first: 'recording-98', length: 50 })),
    },
    {
      name: 'list, by call log',
      load: one,
      operation: listed(() => {
        const n = anyOfMine()
        return { query: `call_log_id=call-${n}`, first: `recording-${n}`, length: 1 }
      }),
    },
    {
      name: 'play 4 KiB of any recording',
      load: one,
      operation: async (connection) => {
        await get(connection, `/recording-${anyOfMine()}`, 'bytes=4096-8191')
        return async () => {}
      },
    },
    ...questions(await asSupervisor(), one),
    { name: 'upload 4 KiB, POST + PATCH', load: one, operation: inTwo(wav(4096)) },
    { name: 'the same, 16 at once', load: { connections: 16, seconds }, operation: inTwo(wav(4096)) },
  ]
}

/** Lists, playback and uploads, by how many recordings there are. */
export async function withRecordings(dir: string, quick: boolean, say: (line?: string) => void): Promise<unknown> {
  const counts = quick ? [200, 1_000] : [1_000, 100_000, 1_000_000]
  const results: Record<string, Record<string, Run>> = {}
  const startedMs: number[] = []
  for (const count of counts) {
    const dataDir = path.join(dir, String(count))
    mkdirSync(dataDir)
    await (await startOurs(dataDir)).stop()
    seed(dataDir, count)
    const beginMs = performance.now()
    const running = await startOurs(dataDir)
    startedMs.push(performance.now() - beginMs)
    try {
      for (const { name, load, operation } of await stepsOf(running.port, dataDir, count, quick ? 0.2 : 2)) {
        if (!quick) await run(running, operation, { ...load, seconds: 0.5 }, 0)
        results[name] = { ...results[name], [count]: await run(running, operation, load, 1) }
      }
    } finally {
      await running.stop()
      rmSync(dataDir, { recursive: true, force: true })
    }
  }
  say(
    table([
      ['p50 (p99), ms', ...counts.map((count) => `${count.toLocaleString('en-US')} recordings`)],
      ...Object.entries(results).map(([name, runs]) => [
        name,
        ...counts.map((count) => `${figure(runs[count]?.p50Ms ?? 0)} (${figure(runs[count]?.p99Ms ?? 0)})`),
      ]),
      ['start', ...startedMs.map(figure)],
    ]),
  )
  return results
}

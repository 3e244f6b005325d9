/**
 * What single steps of an upload cost each database: `npm run bench -- databases`. Files lie on a disk and syncs are real, or
 * there would be nothing to see; client and server share the cores.
 */
import { randomUUID } from 'node:crypto'
import { mkdtemp } from 'node:fs/promises'
import path from 'node:path'
import { callLogAdded } from '../src/db/call-logs.ts'
import { type Database, must } from '../src/db/database.ts'
import { leadAdded, leadStands } from '../src/db/leads.ts'
import { openPostgres } from '../src/db/postgres/postgres.ts'
import { recordingAdded } from '../src/db/recordings.ts'
import type { Recording, UploadRow } from '../src/db/schema.ts'
import { openSqlite } from '../src/db/sqlite.ts'
import { fewerOpenThan, offsetReached, uploadAdded, uploadById, uploadFinished } from '../src/db/uploads.ts'
import { newId } from '../src/ids.ts'
import { hasPostgres, postgres } from '../test/support/postgres.ts'
import { figure, quantile, table } from './figures.ts'

const CONCURRENCY = [1, 16, 64]
const CALLERS = 50
const HEAD = ['step', 'database', ...CONCURRENCY.map((c) => `c=${c}: 1/s (p50 ms, µs CPU here)`)]

const error = () => new Error('a condition does not hold')

const upload = (callerId: string): UploadRow => ({
  ...{ id: newId(), door: 'tus', leadId: 'lead', callLogId: 'call', callerId, callerRole: 'telecaller' },
  ...{ filename: 'call.wav', metadata: null, length: 3 * 2 ** 20, offset: 0, state: 'receiving', key: randomUUID() },
  ...{ recordingId: null, concat: null, partIds: null, finalId: null, expectedSha256: null, idempotencyKey: null },
  ...{ idempotencyFingerprint: null, createdAtMs: Date.now(), lastByteAtMs: Date.now() },
})

const recording = (uploadId: string): Recording => ({
  ...{ id: newId(), uploadId, leadId: 'lead', callLogId: 'call', telecallerId: 't', filename: 'call.wav' },
  ...{ path: randomUUID(), contentType: 'audio/wav', size: 3 * 2 ** 20, sha256: randomUUID(), durationSeconds: 1 },
  ...{ mediaCheck: 'ok', playsInBrowsers: true, createdAtMs: Date.now() },
})

const stands = () => leadStands({ leadId: 'lead', callLogId: 'call' }, (standing) => standing !== undefined)

/** The steps; each worker has an upload of its own. */
const STEPS: Record<string, (db: Database, worker: number, ids: string[]) => Promise<unknown>> = {
  'a row by its id': async (db, worker, ids) => uploadById(db, ids[worker] as string),
  'an offset': (db, worker, ids) =>
    db.write(offsetReached({ id: ids[worker] as string, offset: 0, expected: 0, lastByteAtMs: Date.now() })),
  'a begin': async (db, worker, ids) => {
    const row = upload(`caller-${worker % CALLERS}`)
    await db.write(stands(), fewerOpenThan(1_000_000, row.callerId, error), uploadAdded(row))
    ids[worker] = row.id
  },
  'a begin and a finish': async (db, worker) => {
    const row = upload(`caller-${worker % CALLERS}`)
    await db.write(stands(), fewerOpenThan(1_000_000, row.callerId, error), uploadAdded(row))
    const made = recording(row.id)
    await db.write(
      stands(),
      recordingAdded(made, () => {}),
      must(
        uploadFinished({ id: row.id, offset: made.size, expected: 0, lastByteAtMs: Date.now(), recordingId: made.id }),
        error,
      ),
    )
  },
}

async function timed(work: (worker: number) => Promise<unknown>, concurrency: number, forMs: number): Promise<string> {
  const times: number[] = []
  const untilMs = performance.now() + forMs
  const { user, system } = process.cpuUsage()
  const beganMs = performance.now()
  await Promise.all(
    Array.from({ length: concurrency }, async (_, worker) => {
      while (performance.now() < untilMs) {
        const fromMs = performance.now()
        await work(worker)
        times.push(performance.now() - fromMs)
      }
    }),
  )
  const seconds = (performance.now() - beganMs) / 1_000
  const used = process.cpuUsage()
  const cpu = (used.user + used.system - user - system) / times.length
  return `${figure(times.length / seconds)} (${figure(quantile(times, 0.5))}, ${figure(cpu)})`
}

async function seeded(db: Database): Promise<string[]> {
  const times = { createdAtMs: 1, updatedAtMs: 1 }
  const none = { startedAtMs: null, durationSeconds: null, direction: null }
  await db.write(
    leadAdded({ id: 'lead', telecallerId: 't', name: null, ...times }),
    callLogAdded({ id: 'call', leadId: 'lead', ...none, ...times }),
  )
  const rows = Array.from({ length: Math.max(...CONCURRENCY) }, () => upload('another'))
  for (const row of rows) await db.write(uploadAdded(row))
  return rows.map(({ id }) => id)
}

/** @param dir on a disk that syncs */
export async function ofDatabases(dir: string, quick: boolean, say: (line: string) => void): Promise<void> {
  const forMs = quick ? 200 : 3_000
  const databases: [name: string, db: Database][] = [
    ['SQLite', await openSqlite(path.join(await mkdtemp(path.join(dir, 'sqlite-')), 'recordings.db'))],
  ]
  if (hasPostgres) {
    const url = { text: await (await postgres()).database() }
    const settings = { connections: 8, readConnections: 2, statementTimeoutMs: 10_000 }
    databases.push(['PostgreSQL', await openPostgres({ url, ...settings })])
  }
  const seeds = new Map<Database, string[]>()
  for (const [, db] of databases) seeds.set(db, await seeded(db))
  const rows: string[][] = [HEAD]
  for (const [step, work] of Object.entries(STEPS)) {
    for (const [name, db] of databases) {
      const ids = seeds.get(db) as string[]
      const cells: string[] = []
      for (const concurrency of CONCURRENCY) {
        await timed((worker) => work(db, worker, ids), concurrency, forMs / 3)
        cells.push(await timed((worker) => work(db, worker, ids), concurrency, forMs))
      }
      rows.push([step, name, ...cells])
    }
  }
  for (const [, db] of databases) await db.close()
  say(table(rows))
}

/** Uploads of ten thousand chunks, and of as many as are asked for: no step over them all keeps others waiting. */
import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { eq } from 'drizzle-orm'
import { expect, test } from 'vitest'
import { chunks, uploads } from '../../src/db/schema.ts'
import { openSqlite, type SqliteDatabase } from '../../src/db/sqlite.ts'
import { LIMIT_MS, pumped } from '../support/costly.ts'
import { legacyClient } from '../support/legacy.ts'
import { jsonOf } from '../support/service.ts'
import { startMeasured } from '../support/stretches.ts'
import { sha256 } from '../support/stubborn.ts'
import { asStatement } from '../support/tables.ts'

/** `CHUNKS=99999` is the long run: as many as there may be. */
const MANY = Number(process.env.CHUNKS ?? 10_000)
/** What the server may take more than before, at its highest. */
const MEMORY_BYTES = 150 * 2 ** 20

const server = await startMeasured({ env: { RECORDINGS_MAX_UPLOADS_PER_CALLER: '1000' } })
const legacy = legacyClient(server)

/** Chunks of a byte as that many requests would have left them: in their places, or beside and without the first. */
async function seed(db: SqliteDatabase, id: string, count: number, isEarly: boolean): Promise<void> {
  const fileOf = (index: number) => `${id}.beside/${index}-seeded`
  const at = (name: string) => path.join(server.dir, 'uploads', name)
  if (isEarly) await mkdir(at(`${id}.beside`), { recursive: true })
  for (let from = isEarly ? 1 : 0; from < count; from += 500) {
    const indices = Array.from({ length: Math.min(500, count - from) }, (_, i) => from + i)
    if (isEarly) await Promise.all(indices.map((index) => writeFile(at(fileOf(index)), 'x')))
    const rows = indices.map((index) => ({
      uploadId: id,
      index,
      size: 1,
      ...(isEarly ? { file: fileOf(index) } : { position: index }),
    }))
    await db.write(asStatement((orm) => orm.insert(chunks).values(rows)))
  }
  if (isEarly) return
  await writeFile(at(id), pumped('x', count))
  await db.write(asStatement((orm) => orm.update(uploads).set({ offset: count }).where(eq(uploads.id, id))))
}

async function whileStopped(work: (db: SqliteDatabase) => Promise<void>): Promise<void> {
  await server.kill('SIGTERM')
  const db = await openSqlite(path.join(server.dir, 'recordings.db'))
  await work(db)
  await db.close()
  await server.restart()
}

/** Longest turns by what was done; those that were too long. */
function measuring() {
  const longest: Record<string, number> = {}
  return {
    async measured(what: string, work: () => Promise<Response>, status: number): Promise<void> {
      const { ranMs } = await server.turnsOnce(async () => expect((await work()).status, what).toBe(status))
      longest[what] = ranMs
    },
    tooLong: () => Object.entries(longest).filter(([, ms]) => ms >= LIMIT_MS),
    longest,
  }
}

test('ten thousand chunks of which the first comes last, one is replaced, many are missing, all are cancelled', {
  retry: 2,
}, async () => {
  const COUNT = 10_000
  const lead = await server.lead()
  const begin = () => legacy.begin(lead)
  const [early, replaced, cancelled, holes] = [await begin(), await begin(), await begin(), await begin()]
  await whileStopped(async (db) => {
    for (const id of [early, cancelled, holes]) await seed(db, id, COUNT, true)
    await seed(db, replaced, COUNT, false)
  })
  const { measured, tooLong } = measuring()
  await measured('first', () => legacy.append(lead, early, 0, Buffer.from('x')), 202)
  await measured('finalize', () => legacy.finalize(lead, early, COUNT), 200)
  await measured('replace', () => legacy.append(lead, replaced, 5_000, Buffer.from('long')), 202)
  await measured('put together anew', () => legacy.finalize(lead, replaced, COUNT), 200)
  await measured('missing', () => legacy.finalize(lead, holes, 100_000), 400)
  await measured('cancel', () => legacy.cancel(lead, cancelled), 200)
  expect(tooLong()).toEqual([])
  const { recordings } = await jsonOf(await server.api('GET', lead.recordings))
  expect((recordings as { size: number }[]).slice(0, 2).map(({ size }) => size)).toEqual([COUNT + 3, COUNT])
})

test(`${MANY} chunks of which the first comes last and one is replaced take little memory, and become one recording`, {
  retry: 1,
  timeout: 120_000 + MANY * 5,
}, async () => {
  const COUNT = MANY
  const lead = await server.lead()
  const id = await legacy.begin(lead)
  await whileStopped((db) => seed(db, id, COUNT, true))
  const before = await server.memory()
  const { measured, tooLong, longest } = measuring()
  await measured('first', () => legacy.append(lead, id, 0, Buffer.from('first')), 202)
  await measured('replace', () => legacy.append(lead, id, 5_000, Buffer.from('long')), 202)
  await measured('finalize', () => legacy.finalize(lead, id, COUNT), 200)
  const { peakBytes } = await server.memory()
  console.log(JSON.stringify(longest), `${((peakBytes - before.rssBytes) / 2 ** 20).toFixed()} MiB more at the highest`)
  expect(tooLong()).toEqual([])
  expect(peakBytes - before.rssBytes).toBeLessThan(MEMORY_BYTES)
  const { recordings } = await jsonOf(await server.api('GET', lead.recordings))
  const whole = `first${pumped('x', 4_999)}long${pumped('x', COUNT - 5_001)}`
  expect(recordings).toMatchObject([{ size: whole.length, sha256: sha256(Buffer.from(whole)) }])
})

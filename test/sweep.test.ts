import { mkdir, rm, truncate, utimes, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { eq, sql } from 'drizzle-orm'
import { describe, expect, test } from 'vitest'
import { leads, recordings, uploads } from '../src/db/schema.ts'
import { strangers } from '../src/uploads/strangers.ts'
import { planSweep } from '../src/uploads/sweep-plan.ts'
import type { Step } from '../src/uploads/sweep-steps.ts'
import { onDisk } from './support/home.ts'
import { legacyClient } from './support/legacy.ts'
import { failingMoves, idsStaged, movingClock, startService } from './support/service.ts'
import { asStatement, tablesOf } from './support/tables.ts'
import { noise, tusClient } from './support/tus.ts'

const HOUR = 3_600_000
const clock = movingClock()
const harness = await startService({ clock })
const tus = tusClient(harness.tokens.telecaller)

const plan = async (): Promise<Step[]> => {
  const { config, ...service } = harness.service
  const steps: Step[] = []
  for await (const step of planSweep({ ...service, limits: config.uploads })) steps.push(step)
  return steps
}
const found = async (what: 'unknown' | 'stray'): Promise<string[]> => {
  const files: string[] = []
  for await (const stranger of strangers(harness.service)) if (stranger.what === what) files.push(stranger.file)
  return files.sort()
}
const idOf = (url: string) => url.split('/').pop() as string
const at = (folder: 'uploads' | 'recordings', file: string) => path.join(harness.dir, folder, file)
const sweep = () => harness.service.sweep.runWhole()

/** A file that is as young as the moved clock. */
async function put(file: string) {
  await mkdir(path.dirname(file), { recursive: true })
  await writeFile(file, noise(10))
  for (const each of [file, path.dirname(file)]) await utimes(each, new Date(), clock.now() / 1000)
}

async function record(bytes = noise(1_000)) {
  const lead = await harness.lead()
  const url = await tus.begin(lead, bytes.length)
  const res = await tus.patch(url, 0, bytes)
  const recordingId = res.headers.get('recording-id') as string
  const row = await tablesOf(harness).select().from(recordings).where(eq(recordings.id, recordingId)).get()
  return { lead, url, recordingId, row: row as NonNullable<typeof row> }
}

describe('an upload that is silent', () => {
  test('expires after the last byte, not after the first: 410, and its bytes are gone', async () => {
    const url = await tus.begin(await harness.lead(), 1_000)
    await tus.patch(url, 0, noise(100))
    clock.advance(23 * HOUR)
    await tus.patch(url, 100, noise(100))
    clock.advance(23 * HOUR)
    await sweep()
    expect((await tus.head(url)).headers.get('upload-offset')).toBe('200')
    clock.advance(2 * HOUR)
    expect(await plan()).toContainEqual({ act: 'expire', uploadId: idOf(url), offset: 200 })
    // Expired in the client's eyes before the sweep has come.
    expect((await tus.head(url)).status).toBe(410)
    expect(await idsStaged(harness)).toContain(idOf(url))
    await sweep()
    expect((await tus.head(url)).status).toBe(410)
    expect((await tus.patch(url, 200, noise(1))).status).toBe(410)
    expect(await idsStaged(harness)).not.toContain(idOf(url))
  })

  test('but whole is finished instead, however long it has waited', async () => {
    const lead = await harness.lead()
    const bytes = noise(500)
    const url = await tus.begin(lead, bytes.length)
    // All its bytes are recorded, as after a crash just before the finish.
    const mend = failingMoves(harness.service, 'before')
    expect((await tus.patch(url, 0, bytes)).status).toBe(503)
    mend()
    expect(await idsStaged(harness)).toContain(idOf(url))
    clock.advance(30 * HOUR)
    await harness.restart()
    await sweep()
    const head = await tus.head(url)
    expect(head.headers.get('upload-offset')).toBe('500')
    expect(head.headers.get('recording-id')).not.toBeNull()
  })

  test('and whole, but its lead was taken from its caller: it waits, and expires', async () => {
    const lead = await harness.lead()
    const bytes = noise(500)
    const url = await tus.begin(lead, bytes.length)
    await tus.patch(url, 0, bytes.subarray(0, 400))
    const { db } = harness.service
    const giveTo = (telecallerId: string) =>
      db.write(asStatement((orm) => orm.update(leads).set({ telecallerId }).where(eq(leads.id, lead.leadId))))
    const intoCore = async () => {
      const { Readable } = await import('node:stream')
      const rest = Readable.from([bytes.subarray(400)], { objectMode: false })
      const { ingest, ownership } = harness.service
      await ownership.hold(idOf(url), new AbortController().signal, () => ingest.append(idOf(url), rest))
    }
    await giveTo('telecaller-b')
    await intoCore()
    await expect(harness.service.ingest.finish(idOf(url))).rejects.toMatchObject({ status: 403 })
    await sweep()
    expect(await idsStaged(harness)).toContain(idOf(url))
    clock.advance(25 * HOUR)
    await sweep()
    expect(await idsStaged(harness)).not.toContain(idOf(url))
    await giveTo('telecaller-a')
    expect((await tus.head(url)).status).toBe(410)
  })
})

// In a bucket, rows tell what is there; its sweep has tests of its own.
describe('bytes that belong to nothing', () => {
  const stray = '6b3f5d0e-7c1b-4a52-9c55-0a1b2c3d4e5f'

  onDisk('are removed when they are old enough, and only then', async () => {
    const files = [
      at('uploads', stray),
      at('uploads', `${stray}.chunks/3-aa`),
      at('recordings', '.incoming/call-1_x.wav'),
      at('recordings', '.probe-1'),
      at('uploads', '.probe-1'),
    ]
    for (const file of files) await put(file)
    await sweep()
    expect(await harness.files('uploads')).toContain(stray)
    clock.advance(2 * HOUR)
    const planned = (await plan()).filter((step) => step.act === 'remove')
    expect(planned.map((step) => `${step.from}/${step.file}`).sort()).toEqual(
      [
        `uploads/${stray}`,
        `uploads/${stray}.chunks`,
        'uploads/.probe-1',
        'recordings/.incoming/call-1_x.wav',
        'recordings/.probe-1',
      ].sort(),
    )
    await sweep()
    expect(await harness.files('uploads')).not.toContain(stray)
    expect(await harness.files('uploads')).not.toContain(`${stray}.chunks/3-aa`)
    expect(await harness.files('recordings')).not.toContain('.incoming/call-1_x.wav')
    expect((await plan()).filter((step) => step.act === 'remove')).toEqual([])
  })

  onDisk('are not what an operator put there, nor the file of an upload that is open', async () => {
    const url = await tus.begin(await harness.lead(), 1_000)
    await tus.patch(url, 0, noise(100))
    await put(at('uploads', 'README'))
    await put(at('uploads', 'lost+found/x'))
    await put(at('uploads', `${idOf(url)}.chunks/0-aa`))
    clock.advance(5 * HOUR)
    await sweep()
    expect((await harness.files('uploads')).sort()).toEqual(
      expect.arrayContaining(['README', 'lost+found/x', idOf(url), `${idOf(url)}.chunks/0-aa`]),
    )
    await tus.terminate(url)
  })

  onDisk('are not the parts of an upload that still gathers them', async () => {
    const { db } = harness.service
    const url = await tus.begin(await harness.lead(), 1_000)
    const part = await tus.begin(await harness.lead(), 500)
    await tus.patch(part, 0, noise(400))
    await db.write(
      asStatement((orm) =>
        orm
          .update(uploads)
          .set({ state: 'concatenated', finalId: idOf(url) })
          .where(eq(uploads.id, idOf(part))),
      ),
    )
    await tus.patch(url, 0, noise(1))
    clock.advance(23 * HOUR)
    await tus.patch(url, 1, noise(1))
    clock.advance(23 * HOUR)
    await tus.patch(url, 2, noise(1))
    clock.advance(23 * HOUR)
    await sweep()
    expect(await idsStaged(harness)).toContain(idOf(part))
    expect(
      await tablesOf(harness)
        .select()
        .from(uploads)
        .where(eq(uploads.id, idOf(part)))
        .get(),
    ).toBeDefined()
    await harness.restart()
    expect((await tus.terminate(url)).status).toBe(204)
    await harness.service.sweep.runWhole()
    expect(await idsStaged(harness)).not.toContain(idOf(part))
  })

  onDisk('in the recordings directory go when a row accounts for them: its recording was deleted', async () => {
    const { lead, row } = await record()
    const { db } = harness.service
    await db.write(asStatement((orm) => orm.delete(recordings).where(eq(recordings.id, row.id))))
    expect(await harness.files('recordings')).toContain(row.path)
    await sweep()
    expect(await harness.files('recordings')).not.toContain(row.path)
    expect(lead.leadId).toBe(row.leadId)
  })

  onDisk('in the recordings directory stay when no row has ever heard of them', async () => {
    const unknown = 'lead-x/call-x_20260101T000000Z_0123456789ab.wav'
    await put(at('recordings', unknown))
    const known = await record()
    expect(await found('unknown')).toEqual([])
    clock.advance(100 * HOUR)
    await sweep()
    expect(await harness.files('recordings')).toEqual(expect.arrayContaining([unknown, known.row.path]))
    // But an operator hears of them.
    expect(await found('unknown')).toEqual([unknown])
    await rm(at('recordings', unknown))
  })

  onDisk('are set aside for a week in a folder of the day, and then removed by the sweep', async () => {
    const unknown = 'lead-y/call-y_20260101T000000Z_0123456789ab.wav'
    await put(at('recordings', unknown))
    const { library } = harness.service
    const aside = await library.quarantine(unknown, clock.now())
    expect(aside).toMatch(/^\.quarantine\/\d{4}-\d\d-\d\d\/lead-y\/call-y_/)
    clock.advance(7 * 24 * HOUR)
    await sweep()
    expect(await harness.files('recordings')).toContain(aside)
    expect(await found('unknown')).toEqual([])
    clock.advance(24 * HOUR)
    const folder = path.dirname(path.dirname(aside))
    expect(await plan()).toContainEqual(expect.objectContaining({ act: 'remove', file: folder, bytes: 10 }))
    await sweep()
    expect(await harness.files('recordings')).not.toContain(aside)
  })

  onDisk('are no other things that lie in the recordings directory: those are told of, and left alone', async () => {
    await put(at('recordings', 'lost+found/#123'))
    await put(at('recordings', 'notes.txt'))
    await put(at('recordings', 'README'))
    await put(at('recordings', 'lead-z/notes.txt'))
    await record()
    const strays = ['README', 'lead-z/notes.txt', 'lost+found', 'notes.txt']
    expect(await found('stray')).toEqual(strays)
    clock.advance(100 * HOUR)
    await sweep()
    expect(await found('stray')).toEqual(strays)
    expect(harness.service.events.counters.sweepFailed).toBe(0)
  })
})

test('what is recorded is never touched, nor forgotten too early', async () => {
  const { url, row, recordingId } = await record()
  clock.advance(25 * HOUR)
  await sweep()
  expect((await tus.head(url)).headers.get('recording-id')).toBe(recordingId)
  clock.advance(30 * HOUR)
  expect(await plan()).toContainEqual({ act: 'forget', uploadId: idOf(url) })
  await sweep()
  await harness.restart()
  expect((await tus.head(url)).status).toBe(404)
  expect(await harness.files('recordings')).toContain(row.path)
  const played = await harness.api('GET', `/api/leads/${row.leadId}/recordings/${recordingId}`)
  expect(played.status).toBe(200)
})

onDisk('a recording whose file was cut short is reported as damaged, and stays', async () => {
  const { row, recordingId } = await record()
  await truncate(at('recordings', row.path), row.size - 1)
  expect(await plan()).toContainEqual({
    act: 'report',
    what: 'damaged',
    recordingId,
    leadId: row.leadId,
    path: row.path,
  })
  const { recordingFileDamaged, recordingFileMissing } = harness.service.events.counters
  await sweep()
  expect(harness.service.events.counters).toMatchObject({
    recordingFileDamaged: recordingFileDamaged + 1,
    recordingFileMissing,
  })
  await rm(at('recordings', row.path))
  await harness.api('DELETE', `/api/leads/${row.leadId}/recordings/${recordingId}`, { token: harness.tokens.crm })
})

// Of millions of objects, only `verify` asks.
onDisk('rows whose bytes are gone are reported, and stay', async () => {
  const { row, recordingId } = await record()
  const lead = await harness.lead()
  const url = await tus.begin(lead, 1_000)
  await tus.patch(url, 0, noise(100))
  await rm(at('recordings', row.path))
  await rm(at('uploads', idOf(url)))
  expect(await plan()).toEqual(
    expect.arrayContaining([
      { act: 'report', what: 'upload', uploadId: idOf(url), leadId: lead.leadId, offset: 100 },
      { act: 'report', what: 'recording', recordingId, leadId: row.leadId, path: row.path },
    ]),
  )
  const before = { ...harness.service.events.counters }
  await sweep()
  expect(harness.service.events.counters.recordingFileMissing).toBe(before.recordingFileMissing + 1)
  expect(harness.service.events.counters.uploadBytesMissing).toBe(before.uploadBytesMissing + 1)
  expect(await tablesOf(harness).select().from(recordings).where(eq(recordings.id, recordingId)).get()).toBeDefined()
  // Bytes that were acknowledged are never made up: no recording of silence.
  expect((await tus.patch(url, 100, noise(900))).status).toBe(410)
})

onDisk('bytes that move to their key while the sweep looks at their upload are no alarm', async () => {
  const lead = await harness.lead()
  const legacy = legacyClient(harness)
  const id = await legacy.begin(lead)
  await legacy.append(lead, id, 0, noise(1_000))
  const { config, staging, db, ...service } = harness.service
  const { write } = db
  const moved = Promise.withResolvers<void>()
  const goOn = Promise.withResolvers<void>()
  let finalized: Promise<Response> | undefined
  const looking = {
    segmented: false,
    entries: () => staging.entries(),
    of(of: string) {
      const staged = staging.of(of)
      const size = async () => {
        // Between the row and the look at its bytes it is sealed, and its bytes move; the recording is not committed yet.
        if (of !== id || finalized !== undefined) return staged.size()
        let writes = 0
        db.write = async (...statements) => {
          writes += 1
          if (writes === 1) return write(...statements)
          moved.resolve()
          await goOn.promise
          return write(...statements)
        }
        finalized = legacy.finalize(lead, id, 1)
        await moved.promise
        return staged.size()
      }
      return Object.assign(Object.create(staged), { size })
    },
  }
  const alarms: Step[] = []
  try {
    for await (const step of planSweep({ ...service, db, staging: looking, limits: config.uploads })) {
      if (step.act === 'report' && 'uploadId' in step && step.uploadId === id) alarms.push(step)
    }
  } finally {
    db.write = write
    goOn.resolve()
  }
  expect(finalized).toBeDefined()
  expect(alarms).toEqual([])
  expect((await finalized)?.status).toBe(200)
})

test('one pass takes them all, in steps', async () => {
  const { db, events } = harness.service
  await tus.begin(await harness.lead(), 10)
  const template = (await tablesOf(harness).select().from(uploads).limit(1).get()) as typeof uploads.$inferSelect
  const lastByteAtMs = clock.now() - 25 * HOUR
  // The timer of the service may take some of them before.
  const before = events.counters.uploadExpired
  for (let i = 0; i < 350; i++) {
    const id = crypto.randomUUID()
    await db.write(
      asStatement((orm) =>
        orm.insert(uploads).values({
          ...template,
          id,
          state: 'receiving',
          offset: 0,
          length: 10,
          key: null,
          recordingId: null,
          lastByteAtMs,
        }),
      ),
    )
  }
  await harness.service.sweep.run()
  expect(events.counters.uploadExpired - before).toBe(350)
  const left = await tablesOf(harness)
    .select({ count: sql<number>`count(*)` })
    .from(uploads)
    .where(eq(uploads.state, 'receiving'))
    .get()
  expect(left?.count).toBeLessThan(10)
})

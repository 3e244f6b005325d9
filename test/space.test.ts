import { mkdtemp, rm, statfs } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { and, inArray, isNotNull, sql } from 'drizzle-orm'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { uploads } from '../src/db/schema.ts'
import type { Room } from '../src/storage/bytes.ts'
import { roomIn } from '../src/storage/disk/room.ts'
import { createSpace } from '../src/storage/space.ts'
import { connectTo } from './support/raw.ts'
import { afterwards, movingClock, startService } from './support/service.ts'
import { tablesOf } from './support/tables.ts'
import { metadata, noise, tusClient } from './support/tus.ts'

const GiB = 2 ** 30
const WAIT = { timeout: 10_000 }

describe('what is promised to open uploads', () => {
  test('is what the table says they may still bring, whatever became of them', async () => {
    const clock = movingClock()
    const harness = await startService({ clock, env: { RECORDINGS_MAX_UPLOADS_PER_CALLER: '1000' } })
    const tus = tusClient(harness.tokens.telecaller)
    const lead = await harness.lead()
    const step = fc.oneof(
      fc.record({ act: fc.constant('create' as const), length: fc.integer({ min: 1, max: 4_000 }) }),
      fc.record({ act: fc.constant('defer' as const) }),
      fc.record({
        act: fc.constantFrom('append' as const, 'overrun' as const, 'wrong-offset' as const),
        which: fc.nat(),
        bytes: fc.integer({ min: 1, max: 3_000 }),
      }),
      fc.record({ act: fc.constant('declare' as const), which: fc.nat(), more: fc.nat({ max: 2_000 }) }),
      fc.record({ act: fc.constant('cancel' as const), which: fc.nat() }),
      fc.record({ act: fc.constant('expire' as const) }),
      fc.record({ act: fc.constant('restart' as const) }),
    )
    const promisedByTable = async () => {
      const row = await tablesOf(harness)
        .select({ bytes: sql<number>`coalesce(sum(${uploads.length} - ${uploads.offset}), 0)` })
        .from(uploads)
        .where(and(inArray(uploads.state, ['receiving', 'finishing']), isNotNull(uploads.length)))
        .get()
      return row?.bytes
    }
    const offsetOf = async (url: string) => Number((await tus.head(url)).headers.get('upload-offset') ?? 0)

    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 20 }), async (steps) => {
        const open: string[] = []
        const values = { filename: 'call.wav', call_log_id: lead.callLogId }
        for (const each of steps) {
          const url = 'which' in each && open.length > 0 ? (open[each.which % open.length] as string) : undefined
          if (each.act === 'create') open.push(await tus.begin(lead, each.length))
          if (each.act === 'defer') {
            const headers = { 'upload-defer-length': '1', 'upload-metadata': metadata(values) }
            open.push((await tus.create(lead.uploads, headers)).headers.get('location') as string)
          }
          if (each.act === 'expire') {
            clock.advance(25 * 3_600_000)
            await harness.service.sweep.run()
          }
          if (each.act === 'restart') await harness.restart()
          if (url === undefined) continue
          const offset = await offsetOf(url)
          if (each.act === 'append') {
            const head = await tus.head(url)
            const left = Number(head.headers.get('upload-length') ?? Number.POSITIVE_INFINITY) - offset
            await tus.patch(url, offset, noise(Math.min(each.bytes, left)))
          }
          if (each.act === 'overrun') await tus.patch(url, offset, noise(each.bytes + 4_000)).catch(() => {})
          if (each.act === 'wrong-offset') await tus.patch(url, offset + 1, noise(each.bytes)).catch(() => {})
          if (each.act === 'declare') {
            await tus.patch(url, offset, noise(1), { 'upload-length': String(offset + 1 + each.more) }).catch(() => {})
          }
          if (each.act === 'cancel') await tus.terminate(url)
        }
        expect(harness.service.space.reservedBytes).toBe(await promisedByTable())
      }),
      { numRuns: 25 },
    )
    expect(harness.service.space.reservedBytes).toBeGreaterThanOrEqual(0)
  }, 60_000)
})

describe('room', () => {
  const folder = async () => {
    const dir = await mkdtemp(path.join(tmpdir(), 'space-'))
    afterwards(() => rm(dir, { recursive: true }))
    return { uploadsDir: dir, recordingsDir: dir }
  }
  const at = (dirs: { uploadsDir: string; recordingsDir: string }) => ({
    staging: { room: () => roomIn(dirs.uploadsDir) },
    library: { room: () => roomIn(dirs.recordingsDir) },
  })
  const TERABYTE = 2 ** 40

  test('is refused to an upload that fits alone but not beside what was promised', async () => {
    const dirs = await folder()
    const fs = await statfs(dirs.uploadsDir)
    const half = Math.floor(fs.bavail * fs.bsize * 0.6)
    const space = await createSpace(at(dirs), 0)
    await space.reserve({ id: 'a', length: half, offset: 0 })
    await expect(space.reserve({ id: 'b', length: half, offset: 0 })).rejects.toMatchObject({
      code: 'insufficient_storage',
      headers: { 'Retry-After': expect.any(String) },
    })
    space.release('a')
    await space.reserve({ id: 'b', length: half, offset: 0 })
    expect(space.reservedBytes).toBe(half)
  })

  test('is claimed once by many at once', async () => {
    const dirs = await folder()
    const fs = await statfs(dirs.uploadsDir)
    const third = Math.floor(fs.bavail * fs.bsize * 0.3)
    const space = await createSpace(at(dirs), 0)
    const claims = Array.from({ length: 10 }, (_, i) => space.reserve({ id: `u${i}`, length: third, offset: 0 }))
    const outcomes = await Promise.allSettled(claims)
    expect(outcomes.filter((each) => each.status === 'fulfilled')).toHaveLength(3)
  })

  /** Of what is free; the disk is others' too, and two hundredths of it are left to them. */
  const tenthOf = async ({ uploadsDir }: { uploadsDir: string }) => {
    const fs = await statfs(uploadsDir)
    return Math.floor((fs.bavail * fs.bsize * 0.98) / 10)
  }

  test('is a quarter of what is free for one caller, but for a single upload', async () => {
    const dirs = await folder()
    const tenth = await tenthOf(dirs)
    const space = await createSpace(at(dirs), 0)
    await space.reserve({ id: 'a', callerId: 'one', length: tenth, offset: 0 })
    await space.reserve({ id: 'b', callerId: 'one', length: tenth, offset: 0 })
    const third = { id: 'c', callerId: 'one', length: tenth, offset: 0 }
    await expect(space.reserve(third)).rejects.toMatchObject({ code: 'insufficient_storage' })
    await space.reserve({ id: 'd', callerId: 'two', length: 4 * tenth, offset: 0 })
    space.arrived('a', tenth)
    await space.reserve(third)
    expect(space.reservedBytes).toBe(6 * tenth)
  })

  test('of uploads that never got a byte gives way to their caller’s next, and to others', async () => {
    const dirs = await folder()
    const tenth = await tenthOf(dirs)
    const space = await createSpace(at(dirs), 0)
    const made = (id: string, callerId: string, tenths: number) => ({ id, callerId, length: tenths * tenth, offset: 0 })
    for (let i = 0; i < 35; i++) await space.reserve({ ...made(`idle-${i}`, 'one', 1), givesWay: true })
    expect(space.reservedBytes).toBe(2 * tenth)
    await space.reserve(made('large', 'two', 10))
    expect(space.reservedBytes).toBe(10 * tenth)
    // The first byte asks for the room again.
    await expect(space.keep(made('idle-34', 'one', 1))).rejects.toMatchObject({ code: 'insufficient_storage' })
    space.release('large')
    await space.keep(made('idle-34', 'one', 1))
    await space.reserve(made('large', 'two', 8))
    await expect(space.reserve(made('more', 'two', 8))).rejects.toMatchObject({ status: 507 })
    expect(space.reservedBytes).toBe(9 * tenth)
  })

  test('that was promised before a start counts for its caller, and gives way if no byte came', async () => {
    const dirs = await folder()
    const tenth = await tenthOf(dirs)
    const space = await createSpace(at(dirs), 0, [
      { id: 'begun', callerId: 'one', length: 2 * tenth, offset: 1 },
      { id: 'idle', callerId: 'two', length: 8 * tenth - 1_000_000, offset: 0, givesWay: true },
    ])
    await expect(space.reserve({ id: 'a', callerId: 'one', length: tenth, offset: 0 })).rejects.toMatchObject({
      status: 507,
    })
    await space.reserve({ id: 'b', callerId: 'three', length: 5 * tenth, offset: 0 })
    expect(space.reservedBytes).toBe(7 * tenth - 1)
  })

  const having = (freeBytes: Room['freeBytes'], volume: string) => ({ room: async () => ({ freeBytes, volume }) })

  test('is there for any upload and any caller in a store that is unbounded', async () => {
    const space = await createSpace({ staging: having('unbounded', 'a'), library: having('unbounded', 'b') }, TERABYTE)
    for (const id of ['a', 'b', 'c']) {
      await space.reserve({ id, callerId: 'one', length: 100 * TERABYTE, offset: 0 })
      await space.keep({ id, callerId: 'one', length: 100 * TERABYTE, offset: 0 })
    }
    space.arrived('a', TERABYTE)
    space.release('b')
    expect(space.reservedBytes).toBe(199 * TERABYTE)
  })

  test('is needed in each store that has an end, and once where both share it', async () => {
    const upload = (id: string) => ({ id, length: 600, offset: 0 })
    const apart = await createSpace({ staging: having('unbounded', 'a'), library: having(1_000, 'b') }, 0)
    await apart.reserve(upload('a'))
    await expect(apart.reserve(upload('b'))).rejects.toMatchObject({ code: 'insufficient_storage' })
    // What has come needs its whole length in the library all the same.
    apart.arrived('a', 600)
    await expect(apart.reserve(upload('b'))).rejects.toMatchObject({ code: 'insufficient_storage' })
    const shared = await createSpace({ staging: having(1_000, 'a'), library: having(1_000, 'a') }, 0)
    await shared.reserve(upload('a'))
    shared.arrived('a', 600)
    // The reading has lost what came.
    await shared.reserve({ id: 'b', length: 400, offset: 0 })
  })

  test('is kept free as far as the setting says', async () => {
    const space = await createSpace(at(await folder()), 100 * TERABYTE)
    await expect(space.reserve({ id: 'a', length: 1, offset: 0 })).rejects.toMatchObject({ status: 507 })
  })
})

test('thirty-five creations and forty forms that bring nothing leave room for everybody else', async () => {
  const dir = await mkdtemp(path.join(tmpdir(), 'space-'))
  afterwards(() => rm(dir, { recursive: true }))
  const fs = await statfs(dir)
  // Some 4 GiB are left to give.
  const floor = fs.bavail * fs.bsize - 4 * GiB
  const harness = await startService({ env: { RECORDINGS_MIN_FREE_SPACE: String(floor) } })
  const tus = tusClient(harness.tokens.telecaller)
  const lead = await harness.lead()
  const idle: string[] = []
  for (let i = 0; i < 35; i++) idle.push(await tus.begin(lead, GiB / 2))
  const forms = await Promise.all(
    Array.from({ length: 40 }, async () => {
      const connection = await connectTo(harness.url, { Authorization: `Bearer ${harness.tokens.telecaller}` })
      connection.head('POST', lead.recordings, {
        'Content-Type': 'multipart/form-data; boundary=b',
        'Content-Length': String(GiB / 2),
      })
      connection.send('--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nx')
      return connection
    }),
  )
  // The caller’s quarter is soon full, and the others are told.
  const told = await Promise.all(forms.map((each) => Promise.race([each.answer(), sleep(5_000)])))
  expect(told.filter((each) => each?.status === 507).length).toBeGreaterThan(30)
  const others = await harness.lead('telecaller-b')
  const other = tusClient(harness.tokens.other)
  const url = await other.begin(others, GiB)
  expect((await other.patch(url, 0, noise(100))).status).toBe(204)
  for (const form of forms) form.destroy()
  // Room is claimed again with the first byte, once the forms have gone.
  await expect.poll(async () => (await tus.patch(idle[0] as string, 0, noise(100))).status, WAIT).toBe(204)
})

test('beginnings at once do not overshoot the limit of a caller', async () => {
  const harness = await startService({ env: { RECORDINGS_MAX_UPLOADS_PER_CALLER: '5' } })
  const tus = tusClient(harness.tokens.telecaller)
  const lead = await harness.lead()
  const begin = () =>
    tus.create(
      lead.uploads,
      {
        'upload-length': '10',
        'upload-metadata': metadata({ filename: 'call.wav', call_log_id: lead.callLogId }),
      },
      noise(1),
    )
  const answers = await Promise.all(Array.from({ length: 30 }, begin))
  expect(answers.filter((each) => each.status === 201)).toHaveLength(5)
  const refused = answers.find((each) => each.status !== 201)
  expect(refused?.status).toBe(503)
  expect(refused?.headers.get('retry-after')).not.toBeNull()
})

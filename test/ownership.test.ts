import { eq } from 'drizzle-orm'
import { describe, expect, test, vi } from 'vitest'
import { recordings, uploads } from '../src/db/schema.ts'
import { newId } from '../src/ids.ts'
import { change, type Owned, Ownership, ownedOf } from '../src/uploads/ownership.ts'
import { newRow } from '../src/uploads/upload.ts'
import { diskStores } from './support/disk-stores.ts'
import { legacyClient } from './support/legacy.ts'
import { connectTo } from './support/raw.ts'
import { afterwards, jsonOf, movingClock, startService } from './support/service.ts'
import { tablesOf } from './support/tables.ts'
import { metadata, noise, OFFSET_TYPE, tusClient } from './support/tus.ts'

const HOUR = 3_600_000
const clock = movingClock()
const harness = await startService({ clock })
const tus = tusClient(harness.tokens.telecaller)
const legacy = legacyClient(harness)
const never = new AbortController().signal
const idOf = (url: string) => url.split('/').pop() as string

async function deferred(): Promise<string> {
  const lead = await harness.lead()
  const what = metadata({ filename: 'call.wav', call_log_id: lead.callLogId })
  const begun = await tus.create(lead.uploads, { 'upload-defer-length': '1', 'upload-metadata': what })
  return begun.headers.get('location') as string
}

/** Takes an upload's lock, and gives it back when so many requests wait for it. */
async function held(id: string) {
  const { ownership } = harness.service
  const lock = ownership.newLock(id)
  await lock.lock(never, () => {})
  const byTus = vi.spyOn(ownership, 'newLock')
  const byLegacy = vi.spyOn(ownership, 'holdShortly')
  return {
    waiting: (count: number) => expect.poll(() => byTus.mock.calls.length + byLegacy.mock.calls.length).toBe(count),
    async letGo() {
      for (const each of [byTus, byLegacy]) each.mockRestore()
      await lock.unlock()
    },
  }
}

/** As another process might that writes to the same database. */
const moveOffset = (id: string, offset: number) =>
  tablesOf(harness).update(uploads).set({ offset }).where(eq(uploads.id, id)).run()
const storedOffset = (id: string) =>
  tablesOf(harness).select({ offset: uploads.offset }).from(uploads).where(eq(uploads.id, id)).get()?.offset

test('of eight PATCHes that declare a length at once, one has its way, and none is told that its length is wrong', async () => {
  const [url, bytes] = [await deferred(), noise(2_000)]
  const declaring = { 'upload-length': String(bytes.length) }
  const lock = await held(idOf(url))
  // The bodies of seven don't come: each lets go without a byte, as soon as the next one wants the upload.
  const silent = await Promise.all(Array.from({ length: 7 }, () => connectTo(harness.url)))
  for (const connection of silent) {
    connection.head('PATCH', url, {
      Authorization: `Bearer ${harness.tokens.telecaller}`,
      'Tus-Resumable': '1.0.0',
      'Upload-Offset': '0',
      'Upload-Length': '2000',
      'Content-Type': OFFSET_TYPE,
      'Content-Length': '2000',
    })
  }
  await lock.waiting(7)
  const patched = tus.patch(url, 0, bytes, declaring)
  await lock.waiting(8)
  await lock.letGo()
  const statuses = await Promise.all(silent.map(async (connection) => (await connection.answer()).status))
  expect(statuses).toEqual(Array.from({ length: 7 }, () => 423))
  expect((await patched).status).toBe(204)
  const head = await tus.head(url)
  expect(head.headers.get('upload-offset')).toBe('2000')
  expect(head.headers.get('recording-id')).not.toBeNull()
})

test('of two finalizes at once, the one that names no call goes by that of the other', async () => {
  const lead = await harness.lead()
  const id = await legacy.begin(lead, { call_log_id: undefined })
  await legacy.append(lead, id, 0, noise(1_000))
  const lock = await held(id)
  const first = legacy.finalize(lead, id, 1)
  await lock.waiting(1)
  const second = legacy.finalize(lead, id, 1, { call_log_id: undefined })
  await lock.waiting(2)
  await lock.letGo()
  const answers = await Promise.all([first, second])
  expect(answers.map(({ status }) => status)).toEqual([200, 200])
  const [made, again] = await Promise.all(answers.map(jsonOf))
  expect(again).toEqual(made)
})

describe('an offset that the table does not have any more', () => {
  test('is not committed over: 409, and the next request goes by the table', async () => {
    const url = await tus.begin(await harness.lead(), 3_000)
    await tus.patch(url, 0, noise(1_000))
    moveOffset(idOf(url), 500)
    const refused = await tus.patch(url, 1_000, noise(1_000))
    expect([refused.status, await refused.text()]).toEqual([409, expect.stringMatching(/^upload_closed: /)])
    expect(storedOffset(idOf(url))).toBe(500)
    expect((await tus.head(url)).headers.get('upload-offset')).toBe('500')
  })

  test('is not finished over: 423, to be asked again', async () => {
    const url = await tus.begin(await harness.lead(), 2_000)
    await tus.patch(url, 0, noise(1_000))
    moveOffset(idOf(url), 500)
    const refused = await tus.patch(url, 1_000, noise(1_000))
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([423, '1'])
    const made = tablesOf(harness)
      .select()
      .from(recordings)
      .where(eq(recordings.uploadId, idOf(url)))
      .all()
    expect(made).toEqual([])
  })

  test('is not sealed over', async () => {
    const lead = await harness.lead()
    const id = await legacy.begin(lead)
    await legacy.append(lead, id, 0, noise(1_000))
    moveOffset(id, 500)
    expect((await legacy.finalize(lead, id, 1)).status).toBe(409)
    expect(tablesOf(harness).select().from(uploads).where(eq(uploads.id, id)).get()).toMatchObject({
      state: 'receiving',
      length: null,
    })
  })
})

test('an upload that a request holds does not expire under it', async () => {
  const url = await tus.begin(await harness.lead(), 3_000)
  await tus.patch(url, 0, noise(1_000))
  clock.advance(25 * HOUR)
  const { ingest, ownership } = harness.service
  await ownership.hold(idOf(url), never, async () => {
    expect(await ingest.expire(idOf(url))).toBe(false)
  })
  expect(await ingest.expire(idOf(url))).toBe(true)
  expect((await tus.head(url)).status).toBe(410)
})

describe('what is asked of the database', async () => {
  const { db } = harness.service
  const spies = [vi.spyOn(db, 'get'), vi.spyOn(db, 'all'), vi.spyOn(db, 'write')]
  /** The fewest of several times: the sweep asks beside them. */
  async function fewest(request: (n: number) => Promise<unknown>): Promise<number> {
    const counts: number[] = []
    for (let n = 0; n < 5; n++) {
      for (const spy of spies) spy.mockClear()
      await request(n)
      counts.push(spies.flatMap(({ mock }) => mock.calls).length)
    }
    return Math.min(...counts)
  }

  test('for a small upload: who may, whose call it is, and a commit; then who may, twice, and a commit', async () => {
    const lead = await harness.lead()
    const urls: string[] = []
    expect(await fewest(async () => urls.push(await tus.begin(lead, 1_000)))).toBe(3)
    expect(await fewest((n) => tus.patch(urls[n] as string, 0, noise(1_000)))).toBe(3)
  })

  test('for a chunk in order: who may, and a commit', async () => {
    const lead = await harness.lead()
    const id = await legacy.begin(lead)
    await legacy.append(lead, id, 0, noise(1_000))
    expect(await fewest((n) => legacy.append(lead, id, n + 1, noise(1_000)))).toBe(2)
  })
})

describe('what memory has of an upload', async () => {
  const { staging, close } = await diskStores()
  afterwards(close)
  const caller = { id: 'telecaller-a', role: 'telecaller' } as const

  /** Uploads whose rows are as the table would have them, and how often it was asked. */
  function ownership(rememberedAtMost: number) {
    const table = new Map<string, number>()
    const loaded: string[] = []
    const owners = new Ownership({
      rememberedAtMost,
      load: async (id) => {
        loaded.push(id)
        const row = newRow({ id, door: 'tus', caller, leadId: 'lead', length: 10 }, 0)
        return ownedOf({ ...row, offset: table.get(id) ?? 0 }, staging.of(id))
      },
    })
    const use = (id: string, work: (owned: Owned) => void = () => {}) =>
      owners.hold(id, never, async () => work(await owners.owned(id)))
    return { owners, table, loaded, use }
  }

  test('is there for the next request, and goes when it was left alone for longest', async () => {
    const { loaded, use } = ownership(2)
    const [a, b, c] = [newId(), newId(), newId()] as const
    for (const id of [a, b, a, c, a, b]) await use(id)
    expect(loaded).toEqual([a, b, c, b])
  })

  test('is not there for the next request where other processes write to the same database', async () => {
    const { owners, table, loaded, use } = ownership(0)
    const id = newId()
    table.set(id, 4)
    await use(id)
    table.set(id, 8)
    await owners.hold(id, never, async () => {
      expect((await owners.owned(id)).row.offset).toBe(8)
      expect(await owners.owned(id)).toBe(await owners.owned(id))
    })
    expect(loaded).toEqual([id, id])
  })

  test('stays as long as it is ahead of the table, whatever else comes', async () => {
    const { owners, loaded, use } = ownership(0)
    const id = newId()
    await use(id, (owned) => change(owned, { offset: 10 }))
    await use(newId())
    await owners.using(id, async (owned) => {
      expect(owned.row.offset).toBe(10)
      owned.savedOffset = 10
    })
    expect(loaded.filter((each) => each === id)).toHaveLength(1)
    expect(owners.remembered(id)).toBeUndefined()
  })

  test('is one record for all who ask at once', async () => {
    const { owners, loaded } = ownership(0)
    const id = newId()
    const seen: Owned[] = []
    const see = async (owned: Owned) => void seen.push(owned)
    await owners.hold(id, never, () =>
      Promise.all([owners.using(id, see), owners.using(id, see), owners.owned(id).then(see)]),
    )
    expect(new Set(seen).size).toBe(1)
    expect(loaded).toEqual([id])
  })

  test('is given to none who does not hold the upload', async () => {
    const { owners } = ownership(2)
    await expect(owners.owned(newId())).rejects.toThrow('without its lock')
  })

  test('is left alone where the upload has to be free, and is not', async () => {
    const { owners } = ownership(2)
    const id = newId()
    const end = vi.fn(async () => 'ended')
    expect(await owners.hold(id, never, () => owners.ifFree(id, end))).toBeUndefined()
    expect(await owners.using(id, () => owners.ifFree(id, end))).toBeUndefined()
    expect(end).not.toHaveBeenCalled()
    expect(await owners.ifFree(id, end)).toBe('ended')
  })
})

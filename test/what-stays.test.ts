/**
 * What stays of an upload, however a request of it ends: the table of docs/clients.md, cell by cell, through all doors.
 */
import { randomUUID } from 'node:crypto'
import { eq } from 'drizzle-orm'
import { describe, expect, test, vi } from 'vitest'
import { uploads } from '../src/db/schema.ts'
import { isAbandoned } from '../src/doors/tus/abandon.ts'
import { ServiceError } from '../src/errors.ts'
import type { Staged } from '../src/storage/staging.ts'
import { legacyClient } from './support/legacy.ts'
import { connectTo, type RawConnection } from './support/raw.ts'
import { failingMoves, handlesOf, jsonOf, startService, type TestLead } from './support/service.ts'
import { tablesOf } from './support/tables.ts'
import { metadata, noise, OFFSET_TYPE, stagedBytes, tusClient } from './support/tus.ts'

const harness = await startService()
const tus = tusClient(harness.tokens.telecaller)
const legacy = legacyClient(harness)
const LENGTH = 100_000
const SENT = 60_000
const KEYS = ['under a key', 'without'] as const
const handles = handlesOf(harness.service)
const { append } = handles
const FAULTS = { full: 'ENOSPC', unavailable: 'EIO' } as const

const rowsOf = (lead: TestLead) => tablesOf(harness).select().from(uploads).where(eq(uploads.leadId, lead.leadId)).all()
const rowOf = async (lead: TestLead) => (await rowsOf(lead))[0]
const recordingsOf = async (lead: TestLead) =>
  (await jsonOf(await harness.api('GET', lead.recordings))).recordings as { size: number }[]

/** The store fails once, as soon as something was written. */
function failingStore(code: string) {
  vi.spyOn(handles, 'append').mockImplementationOnce(async function (this: Staged, source, offset, options) {
    // Of what failed, nothing is kept in memory for the finish.
    const written = await append.call(this, source, offset, { ...options, length: undefined, movesOn: undefined })
    return { ...written, error: Object.assign(new Error('the store failed'), { code }) }
  })
}

/** The store fails once, when a chunk is to be kept. */
function failingChunk(code: string) {
  const error = Object.assign(new Error('the store failed'), { code })
  const { staging } = harness.service.ingest
  if (!staging.segmented) return vi.spyOn(handles, 'write').mockRejectedValueOnce(error)
  const { of } = staging
  const spy = vi.spyOn(staging, 'of').mockImplementation((...args) => {
    const staged = of.apply(staging, args)
    staged.beside.keep = () => {
      spy.mockRestore()
      return Promise.reject(error)
    }
    return staged
  })
  return spy
}

/** What ends a request whose body is half here. `rest` is what it has not sent. */
interface Half {
  connection: RawConnection
  lead: TestLead
  rest: Buffer
}
const ENDS: Record<string, (half: Half) => Promise<number | undefined>> = {
  async cut({ connection }) {
    connection.destroy()
    return undefined
  },
  async 'timed out'({ connection }) {
    await connection.closed
    return undefined
  },
  async drained({ connection }) {
    harness.service.ingest.drain()
    return (await connection.answer()).status
  },
  async full({ connection, rest }) {
    connection.send(rest)
    return (await connection.answer()).status
  },
}
ENDS.unavailable = ENDS.full as (typeof ENDS)[string]
const STATUS: Record<string, number | undefined> = { drained: 503, full: 507, unavailable: 503 }
const OUTCOMES = Object.keys(ENDS)

/** Brings about what must be so before the request begins. */
async function prepare(outcome: string) {
  if (outcome === 'timed out') await harness.restart({ RECORDINGS_IDLE_TIMEOUT: '1s' })
  if (outcome === 'full' || outcome === 'unavailable') failingStore(FAULTS[outcome])
}

/** As before, for the next test. */
async function settle(outcome: string) {
  if (outcome === 'timed out' || outcome === 'drained') await harness.restart({ RECORDINGS_IDLE_TIMEOUT: '60s' })
}

const creation = (lead: TestLead, key: string | undefined, more: Record<string, string> = {}) => ({
  'Tus-Resumable': '1.0.0',
  Authorization: `Bearer ${harness.tokens.telecaller}`,
  'Upload-Length': String(LENGTH),
  'Upload-Metadata': metadata({ filename: 'call.wav', call_log_id: lead.callLogId }),
  'Content-Type': OFFSET_TYPE,
  'Content-Length': String(LENGTH),
  ...(key !== undefined && { 'Idempotency-Key': `"${key}"` }),
  ...more,
})

/** A creation with its bytes, of which the first have come. */
async function halfCreated(lead: TestLead, bytes: Buffer, headers: Record<string, string>) {
  const connection = await connectTo(harness.url)
  connection.head('POST', lead.uploads, headers)
  connection.send(bytes.subarray(0, SENT))
  const url = await expect
    .poll(async () => (await rowOf(lead))?.id, { timeout: 5_000 })
    .toBeDefined()
    .then(async () => `${lead.uploads}/${(await rowOf(lead))?.id}`)
  await expect.poll(() => stagedBytes(harness, url), { timeout: 5_000 }).toBe(SENT)
  return { connection, url }
}

describe('a tus creation with its bytes', () => {
  describe.for(OUTCOMES)('that is %s', (outcome) => {
    test.for(KEYS)('%s', async (which) => {
      const key = which === 'under a key' ? randomUUID() : undefined
      await prepare(outcome)
      const lead = await harness.lead()
      const bytes = noise(LENGTH)
      const { connection, url } = await halfCreated(lead, bytes, creation(lead, key))
      const status = await ENDS[outcome]?.({ connection, lead, rest: bytes.subarray(SENT) })
      expect(status).toBe(STATUS[outcome])
      const state = key === undefined ? 'terminated' : 'receiving'
      await expect.poll(async () => (await rowOf(lead))?.state, { timeout: 5_000 }).toBe(state)
      if (key !== undefined) {
        await expect.poll(async () => (await rowOf(lead))?.offset, { timeout: 5_000 }).toBeGreaterThanOrEqual(SENT)
      }
      await settle(outcome)
      if (key === undefined) {
        expect((await tus.head(url)).status).toBe(410)
        return
      }
      const again = await fetch(lead.uploads, { method: 'POST', headers: creation(lead, key), body: bytes })
      expect([again.status, again.headers.get('location')]).toEqual([201, url])
      const offset = Number(again.headers.get('upload-offset'))
      expect(offset).toBeGreaterThanOrEqual(SENT)
      if (offset < LENGTH) expect((await tus.patch(url, offset, bytes.subarray(offset))).status).toBe(204)
      expect(await recordingsOf(lead)).toMatchObject([{ size: LENGTH }])
    })
  })

  test('that is displaced by its own repeat goes on where the repeat was told', async () => {
    const lead = await harness.lead()
    const key = randomUUID()
    const bytes = noise(LENGTH)
    const { connection, url } = await halfCreated(lead, bytes, creation(lead, key))
    const again = await fetch(lead.uploads, { method: 'POST', headers: creation(lead, key), body: bytes })
    expect([again.status, again.headers.get('location')]).toEqual([201, url])
    const offset = Number(again.headers.get('upload-offset'))
    expect(offset).toBeGreaterThanOrEqual(SENT)
    expect((await connection.answer()).status).toBe(423)
    connection.destroy()
    expect((await tus.head(url)).headers.get('upload-offset')).toBe(String(offset))
    expect((await tus.patch(url, offset, bytes.subarray(offset))).status).toBe(204)
    expect(await recordingsOf(lead)).toMatchObject([{ size: LENGTH }])
  })

  test('that is displaced without a key stays: whoever displaced it knows it', async () => {
    const lead = await harness.lead()
    const { connection, url } = await halfCreated(lead, noise(LENGTH), creation(lead, undefined))
    const head = await tus.head(url)
    expect((await connection.answer()).status).toBe(423)
    connection.destroy()
    expect((await tus.head(url)).headers.get('upload-offset')).toBe(head.headers.get('upload-offset'))
    expect(Number(head.headers.get('upload-offset'))).toBeGreaterThanOrEqual(SENT)
  })

  test.for(KEYS)('that is refused leaves nothing, %s', async (which) => {
    const key = which === 'under a key' ? randomUUID() : undefined
    const lead = await harness.lead()
    const headers = creation(lead, key, { 'Upload-Checksum': 'sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAA=' })
    const refused = await fetch(lead.uploads, { method: 'POST', headers, body: noise(LENGTH) })
    expect(refused.status).toBe(460)
    expect(await rowOf(lead)).toMatchObject({ state: 'terminated' })
    const anew = await fetch(lead.uploads, { method: 'POST', headers: creation(lead, key), body: noise(LENGTH) })
    expect(anew.status).toBe(201)
    expect(await recordingsOf(lead)).toHaveLength(1)
  })

  test('that is refused stays when a repeat was told of it before', () => {
    const error = new ServiceError('checksum_mismatch', 'no')
    expect(isAbandoned({ error, isKeyed: true })).toBe(true)
    expect(isAbandoned({ error, isKeyed: true, isKnown: true })).toBe(false)
  })
})

describe('a PATCH', () => {
  test.for([...OUTCOMES, 'refused', 'displaced'])('that is %s ends nothing', async (outcome) => {
    await prepare(outcome)
    const lead = await harness.lead()
    const bytes = noise(LENGTH)
    const url = await tus.begin(lead, LENGTH)
    const connection = await connectTo(harness.url)
    connection.head('PATCH', url, {
      'Tus-Resumable': '1.0.0',
      Authorization: `Bearer ${harness.tokens.telecaller}`,
      'Upload-Offset': '0',
      'Content-Type': OFFSET_TYPE,
      'Content-Length': String(LENGTH),
      ...(outcome === 'refused' && { 'Upload-Checksum': 'sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAA=' }),
    })
    connection.send(bytes.subarray(0, SENT))
    await expect.poll(() => stagedBytes(harness, url), { timeout: 5_000 }).toBe(SENT)
    if (outcome === 'refused') {
      connection.send(bytes.subarray(SENT))
      expect((await connection.answer()).status).toBe(460)
    } else if (outcome === 'displaced') {
      expect((await tus.head(url)).status).toBe(200)
      expect((await connection.answer()).status).toBe(423)
    } else {
      expect(await ENDS[outcome]?.({ connection, lead, rest: bytes.subarray(SENT) })).toBe(STATUS[outcome])
      await expect.poll(async () => (await rowOf(lead))?.offset, { timeout: 5_000 }).toBeGreaterThanOrEqual(SENT)
    }
    await settle(outcome)
    const offset = Number((await tus.head(url)).headers.get('upload-offset'))
    if (outcome === 'refused') expect(offset).toBe(0)
    else expect(offset).toBeGreaterThanOrEqual(SENT)
    if (offset < LENGTH) expect((await tus.patch(url, offset, bytes.subarray(offset))).status).toBe(204)
    expect(await recordingsOf(lead)).toMatchObject([{ size: LENGTH }])
    connection.destroy()
  })
})

describe('a form', () => {
  const head = '--b\r\nContent-Disposition: form-data; name="file"; filename="call.wav"\r\n\r\n'
  const tail = (lead: TestLead) =>
    `\r\n--b\r\nContent-Disposition: form-data; name="call_log_id"\r\n\r\n${lead.callLogId}\r\n--b--\r\n`
  const headers = (length: number, key: string | undefined) => ({
    Authorization: `Bearer ${harness.tokens.telecaller}`,
    'Content-Type': 'multipart/form-data; boundary=b',
    'Content-Length': String(length),
    ...(key !== undefined && { 'Idempotency-Key': `"${key}"` }),
  })
  const post = (lead: TestLead, key: string | undefined, bytes: Buffer, callLogId = lead.callLogId) => {
    const body = Buffer.concat([Buffer.from(head), bytes, Buffer.from(tail({ ...lead, callLogId }))])
    return fetch(lead.recordings, { method: 'POST', headers: headers(body.length, key), body })
  }

  describe.for(OUTCOMES)('that is %s', (outcome) => {
    test.for(KEYS)('leaves nothing, and its repeat is one recording, %s', async (which) => {
      const key = which === 'under a key' ? randomUUID() : undefined
      await prepare(outcome)
      const lead = await harness.lead()
      const bytes = noise(LENGTH)
      const connection = await connectTo(harness.url)
      connection.head('POST', lead.recordings, headers(head.length + LENGTH + tail(lead).length, key))
      connection.send(head)
      connection.send(bytes.subarray(0, SENT))
      await expect.poll(async () => (await rowOf(lead))?.state, { timeout: 5_000 }).toBe('receiving')
      const rest = Buffer.concat([bytes.subarray(SENT), Buffer.from(tail(lead))])
      expect(await ENDS[outcome]?.({ connection, lead, rest })).toBe(STATUS[outcome])
      await expect.poll(async () => (await rowOf(lead))?.state, { timeout: 5_000 }).toBe('terminated')
      await settle(outcome)
      // The row is committed first.
      await expect.poll(() => harness.files('uploads')).not.toContain((await rowOf(lead))?.id)
      expect((await post(lead, key, bytes)).status).toBe(200)
      expect(await recordingsOf(lead)).toMatchObject([{ size: LENGTH }])
    })
  })

  test.for(KEYS)('that is refused leaves nothing, %s', async (which) => {
    const key = which === 'under a key' ? randomUUID() : undefined
    const lead = await harness.lead()
    expect((await post(lead, key, noise(LENGTH), 'unknown')).status).toBe(404)
    expect((await rowsOf(lead)).map(({ state }) => state)).toEqual(['terminated'])
    expect((await post(lead, key, noise(LENGTH))).status).toBe(200)
  })

  test.for([
    ['stays under a key, for its repeat or the service to finish', true, 1],
    ['leaves nothing without: its repeat brings all again', false, 2],
  ] as const)('that is whole and could not be finished %s', async ([, isKeyed, rows]) => {
    const key = isKeyed ? randomUUID() : undefined
    const lead = await harness.lead()
    const bytes = noise(LENGTH)
    const mend = failingMoves(harness.service, 'before')
    try {
      expect((await post(lead, key, bytes)).status).toBe(503)
    } finally {
      mend()
    }
    expect((await rowOf(lead))?.state === 'terminated').toBe(!isKeyed)
    expect((await post(lead, key, bytes)).status).toBe(200)
    expect(await recordingsOf(lead)).toMatchObject([{ size: LENGTH }])
    expect(await rowsOf(lead)).toHaveLength(rows)
  })
})

describe('a chunk', () => {
  /** What was acknowledged is there, and the chunk can be sent again. */
  async function expectGoesOn(lead: TestLead, id: string) {
    const again = await legacy.append(lead, id, 1, noise(10))
    expect([again.status, (await jsonOf(again)).bytes_received]).toEqual([202, 20])
    const finished = await legacy.finalize(lead, id, 2)
    expect([finished.status, (await jsonOf(finished)).size]).toEqual([200, 20])
  }
  const begun = async () => {
    const lead = await harness.lead()
    const id = await legacy.begin(lead)
    expect((await legacy.append(lead, id, 0, noise(10))).status).toBe(202)
    return { lead, id }
  }

  test.for(['cut', 'timed out', 'drained'])('that is %s leaves its upload as it was', async (outcome) => {
    await prepare(outcome)
    const { lead, id } = await begun()
    const body = JSON.stringify({ action: 'append', upload_id: id, chunk_index: 1, chunk: 'A'.repeat(40_000) })
    const connection = await connectTo(harness.url)
    connection.head('POST', lead.recordings, {
      Authorization: `Bearer ${harness.tokens.telecaller}`,
      'Content-Type': 'application/json',
      'Content-Length': String(body.length),
    })
    connection.send(body.slice(0, 20_000))
    if (outcome === 'cut') connection.destroy()
    if (outcome === 'timed out') await connection.closed
    if (outcome === 'drained') await harness.restart()
    await settle(outcome)
    connection.destroy()
    await expectGoesOn(lead, id)
  })

  test.for(Object.entries(FAULTS))('that finds the store %s leaves its upload as it was', async ([, code]) => {
    const { lead, id } = await begun()
    failingChunk(code)
    expect((await legacy.append(lead, id, 1, noise(10))).status).toBeGreaterThanOrEqual(503)
    await expectGoesOn(lead, id)
  })

  test('that is refused, and a finalize that is, leave their upload as it was', async () => {
    const { lead, id } = await begun()
    expect((await legacy.append(lead, id, 1, '####')).status).toBe(400)
    expect((await legacy.finalize(lead, id, 3)).status).toBe(400)
    await expectGoesOn(lead, id)
  })
})

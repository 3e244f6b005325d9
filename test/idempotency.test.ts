/** `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header) at all three doors. */
import { randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { idempotencyOf } from '../src/uploads/idempotency.ts'
import { legacyClient } from './support/legacy.ts'
import { connectTo } from './support/raw.ts'
import { jsonOf, movingClock, startService, tokenFor } from './support/service.ts'
import { metadata, noise, OFFSET_TYPE, tusClient } from './support/tus.ts'

const clock = movingClock()
const harness = await startService({ clock, env: { RECORDINGS_UPLOAD_EXPIRES_AFTER: '5m' } })
const tus = tusClient(harness.tokens.telecaller)
const legacy = legacyClient(harness)
const auth = { authorization: `Bearer ${harness.tokens.telecaller}` }
type Lead = Awaited<ReturnType<typeof harness.lead>>

const keyed = (key: string) => ({ 'idempotency-key': `"${key}"` })
const recordingsOf = async (lead: Lead) =>
  (await jsonOf(await harness.api('GET', lead.recordings))).recordings as { id: string }[]

describe('the header', () => {
  const keyOf = (header: string) => idempotencyOf(header, [])?.key
  test.for([
    ['"8e03978e-40d5-43e8-bc93-6894a57f9324"', '8e03978e-40d5-43e8-bc93-6894a57f9324'],
    ['8e03978e-40d5-43e8-bc93-6894a57f9324', '8e03978e-40d5-43e8-bc93-6894a57f9324'],
    ['"a b"', 'a b'],
    ['"a\\"b\\\\c"', 'a"b\\c'],
    [`"${'k'.repeat(255)}"`, 'k'.repeat(255)],
  ] as const)('%s is a key', ([header, key]) => {
    expect(keyOf(header)).toBe(key)
  })
  test.for(['', '""', '"a', 'a"', '"a"b"', '"ä"', 'a b', '"a\\b"', 'k'.repeat(256)])('%s is none', (header) => {
    expect(() => keyOf(header)).toThrow(/Idempotency-Key/)
  })
})

describe('over tus', () => {
  const create = (lead: Lead, key: string, more: Record<string, string> = {}, body?: Uint8Array) =>
    tus.create(
      lead.uploads,
      {
        'upload-length': '10',
        'upload-metadata': metadata({ filename: 'call.wav', call_log_id: lead.callLogId }),
        ...keyed(key),
        ...more,
      },
      body,
    )

  test('the same creation gives the same upload, before, while and after its bytes come', async () => {
    const lead = await harness.lead()
    const key = randomUUID()
    const first = await create(lead, key)
    const location = first.headers.get('location') as string
    expect(first.status).toBe(201)
    await tus.patch(location, 0, Buffer.from('0123'))
    const again = await create(lead, key)
    expect([again.status, again.headers.get('location'), again.headers.get('upload-offset')]).toEqual([
      201,
      location,
      '4',
    ])
    expect(again.headers.get('tus-resumable')).toBe('1.0.0')
    await tus.patch(location, 4, Buffer.from('456789'))
    const after = await create(lead, key)
    expect([after.status, after.headers.get('location'), after.headers.get('upload-offset')]).toEqual([
      201,
      location,
      '10',
    ])
    const recordings = await recordingsOf(lead)
    expect(recordings).toHaveLength(1)
    expect(after.headers.get('recording-id')).toBe(recordings[0]?.id)
  })

  test('a creation with its bytes is not written twice', async () => {
    const lead = await harness.lead()
    const key = randomUUID()
    const bytes = Buffer.from('0123456789')
    const first = await create(lead, key, { 'content-type': OFFSET_TYPE }, bytes)
    const again = await create(lead, key, { 'content-type': OFFSET_TYPE }, bytes)
    for (const name of ['location', 'upload-offset', 'recording-id']) {
      expect(again.headers.get(name)).toBe(first.headers.get(name))
    }
    expect(again.status).toBe(201)
    expect(await recordingsOf(lead)).toHaveLength(1)
  })

  test('a creation whose line died goes on where it was', async () => {
    const lead = await harness.lead()
    const key = randomUUID()
    const bytes = noise(100_000)
    const headers = {
      'Tus-Resumable': '1.0.0',
      Authorization: auth.authorization,
      'Upload-Length': String(bytes.length),
      'Upload-Metadata': metadata({ filename: 'call.wav', call_log_id: lead.callLogId }),
      'Content-Type': OFFSET_TYPE,
      'Idempotency-Key': `"${key}"`,
    }
    const connection = await connectTo(harness.url)
    connection.head('POST', lead.uploads, { ...headers, 'Content-Length': String(bytes.length) })
    connection.send(bytes.subarray(0, 60_000))
    await expect.poll(() => harness.files('uploads')).toHaveLength(1)
    connection.destroy()
    await connection.closed
    const again = await fetch(lead.uploads, { method: 'POST', headers, body: bytes })
    expect(again.status).toBe(201)
    const offset = Number((await tus.head(again.headers.get('location') as string)).headers.get('upload-offset'))
    expect(offset).toBe(Number(again.headers.get('upload-offset')))
    const last = await tus.patch(again.headers.get('location') as string, offset, bytes.subarray(offset))
    expect(last.status).toBe(204)
    expect(await recordingsOf(lead)).toHaveLength(1)
  })

  test('at once, from many sides, it is one upload', async () => {
    const lead = await harness.lead()
    const key = randomUUID()
    const answers = await Promise.all(Array.from({ length: 8 }, () => create(lead, key)))
    expect(answers.map((res) => res.status)).toEqual(answers.map(() => 201))
    expect(new Set(answers.map((res) => res.headers.get('location'))).size).toBe(1)
  })

  test('with other metadata, another length, or at another door: 409', async () => {
    const lead = await harness.lead()
    const key = randomUUID()
    await create(lead, key)
    const others: Record<string, string>[] = [
      { 'upload-length': '11' },
      { 'upload-metadata': metadata({ filename: 'other.wav', call_log_id: lead.callLogId }) },
    ]
    for (const more of others) {
      const res = await create(lead, key, more)
      expect([res.status, (await res.text()).split(':')[0]]).toEqual([409, 'idempotency_conflict'])
    }
    expect((await legacy.init(lead, {}, keyed(key))).status).toBe(409)
  })

  test('another caller, another lead and another key have uploads of their own', async () => {
    const lead = await harness.lead()
    const other = await harness.lead()
    const key = randomUUID()
    const crm = tusClient(harness.tokens.crm)
    const headers = (of: Lead) => ({
      'upload-length': '10',
      'upload-metadata': metadata({ filename: 'call.wav', call_log_id: of.callLogId }),
      ...keyed(key),
    })
    const answers = [
      await create(lead, key),
      await crm.create(lead.uploads, headers(lead)),
      await create(other, key),
      await create(lead, randomUUID()),
    ]
    expect(answers.map((res) => res.status)).toEqual([201, 201, 201, 201])
    expect(new Set(answers.map((res) => res.headers.get('location'))).size).toBe(4)
  })

  test('a key whose upload was terminated or has expired begins a new one', async () => {
    const lead = await harness.lead()
    const key = randomUUID()
    const locations = []
    for (const end of ['terminate', 'expire', 'expire and sweep', 'stay']) {
      const location = (await create(lead, key)).headers.get('location') as string
      locations.push(location)
      if (end === 'terminate') await tus.terminate(location)
      if (end.startsWith('expire')) clock.advance(6 * 60_000)
      if (end.endsWith('sweep')) await harness.service.sweep.run()
    }
    expect(new Set(locations).size).toBe(4)
    expect((await create(lead, key)).headers.get('location')).toBe(locations[3])
  })

  test('a header that is none: 400', async () => {
    const lead = await harness.lead()
    const res = await create(lead, 'ignored', { 'idempotency-key': '"' })
    expect(res.status).toBe(400)
  })
})

describe('init', () => {
  test('again gives the same upload, also when it is finished, and after a restart', async () => {
    const lead = await harness.lead()
    const key = randomUUID()
    const first = await legacy.init(lead, {}, keyed(key))
    const told = await jsonOf(first)
    const id = told.upload_id as string
    const again = () => legacy.init(lead, {}, keyed(key))
    for (const step of ['begun', 'grown', 'restarted', 'finished']) {
      if (step === 'grown') await legacy.append(lead, id, 0, 'QUJD')
      if (step === 'restarted') await harness.restart()
      if (step === 'finished') await legacy.finalize(lead, id, 1)
      const res = await again()
      expect([res.status, await res.json()]).toEqual([201, told])
    }
    expect(await recordingsOf(lead)).toHaveLength(1)
    const conflict = await legacy.init(lead, { filename: 'other.aac' }, keyed(key))
    expect([conflict.status, (await jsonOf(conflict)).code]).toEqual([409, 'idempotency_conflict'])
    expect((await legacy.init(lead, { call_log_id: undefined }, keyed(key))).status).toBe(409)
  })

  test('at once, from many sides, it is one upload; cancelled, it is a new one', async () => {
    const lead = await harness.lead()
    const key = randomUUID()
    const answers = await Promise.all(Array.from({ length: 8 }, () => legacy.init(lead, {}, keyed(key))))
    const ids = await Promise.all(answers.map(async (res) => (await jsonOf(res)).upload_id as string))
    expect(new Set(ids).size).toBe(1)
    await legacy.cancel(lead, ids[0] as string)
    expect((await jsonOf(await legacy.init(lead, {}, keyed(key)))).upload_id).not.toBe(ids[0])
  })

  test('counts once against what a caller may have open', async () => {
    const lead = await harness.lead('telecaller-once')
    const once = legacyClient(harness, await tokenFor({ sub: 'telecaller-once' }))
    await harness.restart({ RECORDINGS_MAX_UPLOADS_PER_CALLER: '1' })
    const key = randomUUID()
    for (let i = 0; i < 3; i++) expect((await once.init(lead, {}, keyed(key))).status).toBe(201)
    expect((await once.init(lead, {}, keyed(randomUUID()))).status).toBe(503)
    await harness.restart({ RECORDINGS_MAX_UPLOADS_PER_CALLER: '64' })
  })
})

describe('the simple upload', () => {
  const formOf = (lead: Lead, bytes: Uint8Array, filename = 'call.wav') => {
    const form = new FormData()
    form.append('file', new Blob([Buffer.from(bytes)]), filename)
    form.append('call_log_id', lead.callLogId)
    return form
  }
  const post = (lead: Lead, key: string, form: FormData) =>
    fetch(lead.recordings, { method: 'POST', body: form, headers: { ...auth, ...keyed(key) } })

  test('again gives the same recording', async () => {
    const lead = await harness.lead()
    const key = randomUUID()
    const bytes = noise(700_000)
    const first = await post(lead, key, formOf(lead, bytes))
    const recording = await jsonOf(first)
    expect(first.status).toBe(200)
    await harness.restart()
    const again = await post(lead, key, formOf(lead, bytes))
    expect([again.status, await again.json()]).toEqual([200, recording])
    expect(await recordingsOf(lead)).toHaveLength(1)
    expect(await harness.files('uploads')).toEqual([])
  })

  test('with another name, another call or other bytes: 409, and nothing is stored', async () => {
    const lead = await harness.lead()
    const key = randomUUID()
    const bytes = noise(100_000)
    await post(lead, key, formOf(lead, bytes))
    await harness.api('PUT', `/api/leads/${lead.leadId}/call-logs/second-${lead.callLogId}`, {
      token: harness.tokens.crm,
      body: {},
    })
    for (const form of [
      formOf(lead, bytes, 'other.wav'),
      formOf({ ...lead, callLogId: `second-${lead.callLogId}` }, bytes),
      formOf(lead, noise(100_000)),
    ]) {
      const res = await post(lead, key, form)
      expect([res.status, (await jsonOf(res)).code]).toEqual([409, 'idempotency_conflict'])
    }
    expect(await recordingsOf(lead)).toHaveLength(1)
    expect(await harness.files('uploads')).toEqual([])
  })

  test('at once, from many sides, it is one recording', async () => {
    const lead = await harness.lead()
    const key = randomUUID()
    const bytes = noise(500_000)
    const answers = await Promise.all(Array.from({ length: 5 }, () => post(lead, key, formOf(lead, bytes))))
    expect(answers.map((res) => res.status)).toEqual([200, 200, 200, 200, 200])
    const ids = await Promise.all(answers.map(async (res) => (await jsonOf(res)).id))
    expect(new Set(ids).size).toBe(1)
    expect(await recordingsOf(lead)).toHaveLength(1)
  })

  test.for([
    ['in its file', '0123456789'],
    ['behind its file', '0123456789\r\n--b\r\n'],
  ] as const)('takes over from a first try whose line fell silent %s', async ([, sent]) => {
    const lead = await harness.lead()
    const key = randomUUID()
    const bytes = noise(50_000)
    const silent = await connectTo(harness.url, { Authorization: auth.authorization })
    silent.head('POST', lead.recordings, {
      'Content-Type': 'multipart/form-data; boundary=b',
      'Content-Length': '60000',
      'Idempotency-Key': `"${key}"`,
    })
    silent.send('--b\r\nContent-Disposition: form-data; name="file"; filename="call.wav"\r\n\r\n')
    silent.send(sent)
    await expect.poll(() => harness.files('uploads')).toHaveLength(1)
    const res = await post(lead, key, formOf(lead, bytes))
    expect(res.status).toBe(200)
    expect(await jsonOf(res)).toMatchObject({ size: 50_000 })
    expect(await recordingsOf(lead)).toHaveLength(1)
    expect(await harness.files('uploads')).toEqual([])
    silent.destroy()
  })

  test('begins anew when the first try was refused or cut, and gives 404 when its recording was deleted', async () => {
    const lead = await harness.lead()
    const key = randomUUID()
    const bytes = noise(50_000)
    const refused = await post(lead, key, formOf({ ...lead, callLogId: 'unknown' }, bytes))
    expect(refused.status).toBe(404)
    const recording = await jsonOf(await post(lead, key, formOf(lead, bytes)))
    expect(recording.size).toBe(50_000)
    await harness.api('DELETE', `${lead.recordings}/${recording.id}`)
    expect((await post(lead, key, formOf(lead, bytes))).status).toBe(404)
  })
})

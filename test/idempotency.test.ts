/** `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header) at all three doors. */
import { createHash, randomUUID } from 'node:crypto'
import { eq } from 'drizzle-orm'
import { describe, expect, test, vi } from 'vitest'
import { uploads } from '../src/db/schema.ts'
import { idempotencyOf } from '../src/uploads/idempotency.ts'
import { base64, legacyClient } from './support/legacy.ts'
import { connectTo } from './support/raw.ts'
import { jsonOf, movingClock, startService, tokenFor } from './support/service.ts'
import { openUploads, tablesOf } from './support/tables.ts'
import { metadata, noise, OFFSET_TYPE, tusClient } from './support/tus.ts'

const clock = movingClock()
const harness = await startService({ clock, env: { RECORDINGS_UPLOAD_EXPIRES_AFTER: '5m' } })
const tus = tusClient(harness.tokens.telecaller)
const legacy = legacyClient(harness)
const auth = { authorization: `Bearer ${harness.tokens.telecaller}` }
type Lead = Awaited<ReturnType<typeof harness.lead>>

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')
const keyed = (key: string) => ({ 'idempotency-key': `"${key}"` })
const recordingsOf = async (lead: Lead) =>
  (await jsonOf(await harness.api('GET', lead.recordings))).recordings as { id: string }[]
const openOf = async (lead: Lead) => (await openUploads(harness)).filter(({ leadId }) => leadId === lead.leadId)

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
    await expect.poll(() => openOf(lead)).toHaveLength(1)
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

  test('a creation that comes to write when its repeat has gone on writes nothing', async () => {
    const lead = await harness.lead()
    const key = randomUUID()
    const late = Promise.withResolvers<void>()
    const { ownership } = harness.service
    const newLock = vi.spyOn(ownership, 'newLock').mockImplementationOnce((id) => {
      newLock.mockRestore()
      const lock = ownership.newLock(id)
      return { ...lock, lock: (...asked) => late.promise.then(() => lock.lock(...asked)) }
    })
    const first = create(lead, key, { 'content-type': OFFSET_TYPE }, Buffer.from('01234'))
    await expect.poll(() => openOf(lead)).toHaveLength(1)
    const repeat = await create(lead, key)
    const location = repeat.headers.get('location') as string
    expect([repeat.status, repeat.headers.get('upload-offset')]).toEqual([201, '0'])
    expect((await tus.patch(location, 0, Buffer.from('012'))).status).toBe(204)
    late.resolve()
    expect((await first).status).toBe(423)
    expect((await tus.head(location)).headers.get('upload-offset')).toBe('3')
    const done = await tus.patch(location, 3, Buffer.from('3456789'))
    const recording = await fetch(done.headers.get('content-location') as string, { headers: auth })
    expect(await recording.text()).toBe('0123456789')
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

  test('a key whose upload has become a recording stays its own when the client ends the upload', async () => {
    const lead = await harness.lead()
    const key = randomUUID()
    const send = () => create(lead, key, { 'content-type': OFFSET_TYPE }, Buffer.from('0123456789'))
    const first = await send()
    const location = first.headers.get('location') as string
    expect((await tus.terminate(location)).status).toBe(204)
    expect((await tus.head(location)).status).toBe(410)
    const again = await send()
    expect(again.status).toBe(201)
    for (const name of ['location', 'recording-id']) expect(again.headers.get(name)).toBe(first.headers.get(name))
    expect(await recordingsOf(lead)).toHaveLength(1)
  })

  test('chunks that have become a recording give the same when their upload is ended over tus', async () => {
    const lead = await harness.lead()
    const key = randomUUID()
    const init = () => legacy.init(lead, {}, keyed(key))
    const id = (await jsonOf(await init())).upload_id as string
    await legacy.append(lead, id, 0, noise(100))
    const recording = await jsonOf(await legacy.finalize(lead, id, 1))
    expect((await tus.terminate(`${lead.uploads}/${id}`)).status).toBe(204)
    const again = await legacy.finalize(lead, id, 1)
    expect([again.status, (await jsonOf(again)).id]).toEqual([200, recording.id])
    expect((await jsonOf(await init())).upload_id).toBe(id)
    expect((await legacy.cancel(lead, id)).status).toBe(409)
    expect(await recordingsOf(lead)).toHaveLength(1)
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

  test('pairs in another order, white space, missing padding and the digest in another form say the same', async () => {
    const lead = await harness.lead()
    const key = randomUUID()
    const sha = sha256(Buffer.from('0123456789'))
    const values = { filename: 'call.wav', call_log_id: lead.callLogId, filetype: 'audio/wav' }
    const first = await create(lead, key, { 'upload-metadata': metadata({ ...values, sha256: sha }) })
    const { filename, call_log_id, filetype } = values
    for (const header of [
      metadata({ sha256: sha, filetype, call_log_id, filename }),
      metadata({ sha256: sha, filetype, call_log_id, filename }).replaceAll(',', ' ,\t').replaceAll('=', ''),
      metadata({ filename, sha256: Buffer.from(sha, 'hex').toString('base64'), filetype, call_log_id }),
    ]) {
      const again = await create(lead, key, { 'upload-metadata': header })
      expect([again.status, again.headers.get('location')]).toEqual([201, first.headers.get('location')])
    }
    const digest = `sha-256=:${Buffer.from(sha, 'hex').toString('base64')}:`
    const promised = await create(lead, key, { 'upload-metadata': metadata(values), 'repr-digest': digest })
    expect([promised.status, promised.headers.get('location')]).toEqual([201, first.headers.get('location')])
    for (const header of [
      metadata(values),
      metadata({ ...values, sha256: sha256(noise(1)) }),
      metadata({ ...values, sha256: sha, filetype: 'audio/mpeg' }),
      metadata({ filename, call_log_id, sha256: sha }),
    ]) {
      expect((await create(lead, key, { 'upload-metadata': header })).status).toBe(409)
    }
  })

  describe('with parts', () => {
    const named = (lead: Lead, more: Record<string, string> = {}) => ({
      'upload-metadata': metadata({ filename: 'call.wav', call_log_id: lead.callLogId, ...more }),
    })
    const part = async (lead: Lead, key: string, bytes: Uint8Array) => {
      const headers = { 'upload-concat': 'partial', 'upload-length': String(bytes.length), ...keyed(key) }
      const res = await tus.create(lead.uploads, headers, bytes)
      expect([res.status, res.headers.get('upload-offset')]).toEqual([201, String(bytes.length)])
      return res.headers.get('location') as string
    }
    const whole = (lead: Lead, key: string, parts: string[], more: Record<string, string> = {}) =>
      tus.create(lead.uploads, { 'upload-concat': `final;${parts.join(' ')}`, ...keyed(key), ...named(lead, more) })

    test('the key is that of the whole: each part has an address of its own, equal ones too', async () => {
      const lead = await harness.lead()
      const key = randomUUID()
      const parts = [await part(lead, key, noise(5)), await part(lead, key, noise(5)), await part(lead, key, noise(3))]
      expect(new Set(parts).size).toBe(3)
      await tus.terminate(await part(lead, 'not " a key', noise(3)))
      const made = await whole(lead, key, parts)
      const again = await whole(lead, key, parts)
      for (const name of ['location', 'recording-id']) {
        expect(again.headers.get(name)).toBe(made.headers.get(name))
        expect(again.headers.get(name)).not.toBeNull()
      }
      expect(await recordingsOf(lead)).toHaveLength(1)
    })

    test('the whole is the same for a client that sent all its parts again, and for one that comes when they are forgotten', async () => {
      const lead = await harness.lead()
      const key = randomUUID()
      const first = [await part(lead, key, noise(5)), await part(lead, key, noise(3))]
      const made = await whole(lead, key, first)
      const second = [await part(lead, key, noise(4)), await part(lead, key, noise(4))]
      const location = made.headers.get('location')
      expect((await whole(lead, key, second)).headers.get('location')).toBe(location)
      clock.advance(11 * 60_000)
      await harness.service.sweep.runWhole()
      await harness.restart()
      expect((await tus.head(first[0] as string)).status).toBe(404)
      expect((await whole(lead, key, first)).headers.get('location')).toBe(location)
      expect(await recordingsOf(lead)).toHaveLength(1)
    })

    test('at once, from two sides with parts of their own, it is one', async () => {
      const lead = await harness.lead()
      const key = randomUUID()
      const sides = [[await part(lead, key, noise(5))], [await part(lead, key, noise(5))]]
      const answers = await Promise.all(sides.map((parts) => whole(lead, key, parts)))
      expect(answers.map((res) => res.status)).toEqual([201, 201])
      expect(new Set(answers.map((res) => res.headers.get('location'))).size).toBe(1)
      expect(await recordingsOf(lead)).toHaveLength(1)
      for (const url of sides.flat()) await tus.terminate(url)
    })

    test('with other metadata, another length, or for an upload in one: 409', async () => {
      const lead = await harness.lead()
      const key = randomUUID()
      const parts = [await part(lead, key, noise(5))]
      await whole(lead, key, parts)
      expect((await whole(lead, key, parts, { filetype: 'audio/wav' })).status).toBe(409)
      const longer = await part(lead, key, noise(6))
      expect((await whole(lead, key, [longer])).status).toBe(409)
      expect((await create(lead, key)).status).toBe(409)
      await tus.terminate(longer)
    })
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

  test('says the same in JSON of another order and in forms', async () => {
    const lead = await harness.lead()
    const key = randomUUID()
    const fields = { action: 'init', filename: 'call.aac', call_log_id: lead.callLogId }
    const first = await jsonOf(await legacy.init(lead, {}, keyed(key)))
    const form = new FormData()
    for (const [name, value] of Object.entries(fields).reverse()) form.append(name, value)
    const bodies = [
      JSON.stringify(Object.fromEntries(Object.entries(fields).reverse()), null, 2),
      new URLSearchParams(fields),
      form,
    ]
    for (const body of bodies) {
      const type = typeof body === 'string' && { 'content-type': 'application/json' }
      const res = await fetch(lead.recordings, { method: 'POST', headers: { ...auth, ...keyed(key), ...type }, body })
      expect([res.status, (await jsonOf(res)).upload_id]).toEqual([201, first.upload_id])
    }
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
    const answers = []
    for (let i = 0; i < 3; i++) answers.push(await once.init(lead, {}, keyed(key)))
    expect(answers.map(({ status }) => status)).toEqual([201, 201, 201])
    const { upload_id } = await jsonOf(answers[0] as Response)
    expect((await once.append(lead, upload_id as string, 0, base64('0'))).status).toBe(202)
    expect((await once.init(lead, {}, keyed(randomUUID()))).status).toBe(503)
    await once.cancel(lead, upload_id as string)
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
    await expect.poll(() => harness.files('uploads')).toEqual([])
  })

  test('says the same with its fields in another order', async () => {
    const lead = await harness.lead()
    const key = randomUUID()
    const bytes = noise(10_000)
    const recording = await jsonOf(await post(lead, key, formOf(lead, bytes)))
    const other = new FormData()
    other.append('call_log_id', lead.callLogId)
    other.append('file', new Blob([Buffer.from(bytes)]), 'C:\\calls\\call.wav')
    const again = await post(lead, key, other)
    expect([again.status, (await jsonOf(again)).id]).toEqual([200, recording.id])
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
    await expect.poll(() => harness.files('uploads')).toEqual([])
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
    await expect.poll(() => openOf(lead)).toHaveLength(1)
    const res = await post(lead, key, formOf(lead, bytes))
    expect(res.status).toBe(200)
    expect(await jsonOf(res)).toMatchObject({ size: 50_000 })
    expect(await recordingsOf(lead)).toHaveLength(1)
    await expect.poll(() => harness.files('uploads')).toEqual([])
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

describe('a key lives', () => {
  const DAY = 86_400_000
  const bytes = noise(10)
  const form = (lead: Lead) => {
    const fields = new FormData()
    fields.append('file', new Blob([bytes]), 'call.wav')
    fields.append('call_log_id', lead.callLogId)
    return fields
  }
  /** Stores one recording in each way, and tells what is answered when its first request comes again. */
  const WAYS = {
    tus: (lead: Lead, key: string) =>
      tus.create(
        lead.uploads,
        {
          'upload-length': '10',
          'upload-metadata': metadata({ filename: 'call.wav', call_log_id: lead.callLogId }),
          ...keyed(key),
        },
        bytes,
      ),
    chunks: (lead: Lead, key: string) => legacy.init(lead, {}, keyed(key)),
    form: (lead: Lead, key: string) =>
      fetch(lead.recordings, { method: 'POST', body: form(lead), headers: { ...auth, ...keyed(key) } }),
  } as const
  const store = async (way: keyof typeof WAYS, lead: Lead, key: string) => {
    const res = await WAYS[way](lead, key)
    if (way !== 'chunks') return
    const id = (await jsonOf(res)).upload_id as string
    await legacy.append(lead, id, 0, bytes)
    expect((await legacy.finalize(lead, id, 1)).status).toBe(200)
  }
  const rowsOf = (lead: Lead) => tablesOf(harness).select().from(uploads).where(eq(uploads.leadId, lead.leadId)).all()
  async function pass(days: number) {
    clock.advance(days * DAY)
    await harness.service.sweep.runWhole()
  }

  test.for(['tus', 'chunks', 'form'] as const)('as long as its recording, over %s', async (way) => {
    const lead = await harness.lead()
    const key = randomUUID()
    await store(way, lead, key)
    for (const days of [3, 40, 400]) {
      await pass(days)
      await harness.restart()
      const again = await WAYS[way](lead, key)
      expect(again.ok).toBe(true)
      const [recording, ...others] = await recordingsOf(lead)
      expect(others).toEqual([])
      const location = again.headers.get('location')
      if (way === 'form') expect((await jsonOf(again)).id).toBe(recording?.id)
      else expect((await tus.head(location as string)).headers.get('recording-id')).toBe(recording?.id)
    }
  })

  test('30 days when its recording was deleted, and the upload is no longer known then', async () => {
    const lead = await harness.lead()
    const key = randomUUID()
    await store('tus', lead, key)
    const [recording] = await recordingsOf(lead)
    await harness.api('DELETE', `${lead.recordings}/${recording?.id}`)
    await pass(29)
    expect((await WAYS.tus(lead, key)).headers.get('recording-id')).toBe(recording?.id)
    expect(await recordingsOf(lead)).toEqual([])
    await pass(2)
    expect(await rowsOf(lead)).toEqual([])
    await store('tus', lead, key)
    expect(await recordingsOf(lead)).toHaveLength(1)
  })

  test.for(['terminated', 'expired'])('30 days when its upload was %s: it is told so, and begins anew', async (end) => {
    const lead = await harness.lead()
    const key = randomUUID()
    const create = () =>
      tus.create(lead.uploads, {
        'upload-length': '10',
        'upload-metadata': metadata({ filename: 'call.wav', call_log_id: lead.callLogId }),
        ...keyed(key),
      })
    const location = (await create()).headers.get('location') as string
    if (end === 'terminated') await tus.terminate(location)
    await pass(29)
    expect((await tus.head(location)).status).toBe(410)
    const anew = await create()
    expect(anew.status).toBe(201)
    expect(anew.headers.get('location')).not.toBe(location)
    await pass(2)
    await harness.restart()
    expect((await tus.head(location)).status).toBe(404)
  })

  test('not at all for an upload without one: it is forgotten as ever', async () => {
    const lead = await harness.lead()
    await tus.begin(lead, 10)
    await pass(1)
    expect(await rowsOf(lead)).toEqual([])
  })
})

import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { onDisk } from './support/home.ts'
import { base64, type Fields, legacyClient } from './support/legacy.ts'
import { connectTo } from './support/raw.ts'
import { idsStaged, jsonOf, movingClock, startService, tokenFor } from './support/service.ts'
import { noise, tusClient } from './support/tus.ts'

const clock = movingClock()
const harness = await startService({
  clock,
  env: { RECORDINGS_MAX_CHUNK_SIZE: '1MiB', RECORDINGS_MAX_UPLOAD_SIZE: '3MiB', RECORDINGS_UPLOAD_EXPIRES_AFTER: '5m' },
})
const legacy = legacyClient(harness)
const tus = tusClient(harness.tokens.telecaller)
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

type Lead = Awaited<ReturnType<typeof harness.lead>>
const bytesOf = async (lead: Lead, recordingId: unknown) =>
  Buffer.from(await (await harness.api('GET', `${lead.recordings}/${recordingId}`)).arrayBuffer())

/** Expects a failure as the legacy clients read it, with this status and code. */
async function expectError(res: Response, status: number, code: string): Promise<Record<string, unknown>> {
  const body = await jsonOf(res)
  expect([res.status, body.code]).toEqual([status, code])
  expect(res.headers.get('content-type')).toMatch(/^application\/problem\+json/)
  expect(body.error).toMatch(/^[A-Z0-9].{5,200}\.$/)
  expect(body.error).toBe(body.detail)
  return body
}

describe('chunks in order', () => {
  test('become one recording: 201, 202 with counts, 200', async () => {
    const lead = await harness.lead()
    const bytes = noise(250_000)
    const begun = await legacy.init(lead)
    expect(begun.status).toBe(201)
    const { upload_id, chunk_size } = (await begun.json()) as { upload_id: string; chunk_size: number }
    expect(chunk_size).toBe(1_048_576)
    expect(begun.headers.get('location')).toBe(`${lead.uploads}/${upload_id}`)
    for (const [i, end] of [100_000, 200_000, 250_000].entries()) {
      const res = await legacy.append(lead, upload_id, i, bytes.subarray(i * 100_000, end))
      expect(res.status).toBe(202)
      expect(await res.json()).toEqual({ upload_id, chunk_index: i, chunks_received: i + 1, bytes_received: end })
    }
    const res = await legacy.finalize(lead, upload_id, 3)
    expect(res.status).toBe(200)
    const recording = await jsonOf(res)
    expect(recording).toMatchObject({
      lead_id: lead.leadId,
      call_log_id: lead.callLogId,
      telecaller_id: 'telecaller-a',
      filename: 'call.aac',
      size: 250_000,
      sha256: sha256(bytes),
    })
    expect(await bytesOf(lead, recording.id)).toEqual(bytes)
    await expect.poll(() => harness.files('uploads')).toEqual([])
  })

  test('are each written once, straight to their place', async () => {
    const lead = await harness.lead()
    const id = await legacy.begin(lead)
    const bytes = noise(30_000)
    for (let i = 0; i < 3; i++) {
      await legacy.append(lead, id, i, bytes.subarray(i * 10_000, (i + 1) * 10_000))
      expect(await idsStaged(harness)).toEqual([id])
    }
    await legacy.cancel(lead, id)
  })

  test('are told of by HEAD on the tus route, with their length deferred until finalize', async () => {
    const lead = await harness.lead()
    const id = await legacy.begin(lead)
    const head = async () => {
      const res = await tus.head(`${lead.uploads}/${id}`)
      return [
        res.status,
        ...['upload-offset', 'upload-defer-length', 'upload-length'].map((name) => res.headers.get(name)),
      ]
    }
    expect(await head()).toEqual([200, '0', '1', null])
    await legacy.append(lead, id, 0, noise(1_000))
    expect(await head()).toEqual([200, '1000', '1', null])
    await legacy.append(lead, id, 2, noise(500))
    expect(await head()).toEqual([200, '1000', '1', null])
    await legacy.append(lead, id, 1, noise(300))
    expect(await head()).toEqual([200, '1800', '1', null])
    const { id: recordingId } = await jsonOf(await legacy.finalize(lead, id, 3))
    expect(await head()).toEqual([200, '1800', null, '1800'])
    expect((await tus.head(`${lead.uploads}/${id}`)).headers.get('recording-id')).toBe(recordingId)
  })
})

describe('chunks in any order', () => {
  test('wait on disk until their turn comes, and leave nothing behind', async () => {
    const lead = await harness.lead()
    const id = await legacy.begin(lead)
    const parts = [noise(10), noise(200_000), noise(3), noise(70_000)]
    for (const i of [3, 1, 2]) expect((await legacy.append(lead, id, i, parts[i] as Buffer)).status).toBe(202)
    expect(await harness.files('uploads')).toHaveLength(3)
    expect(await jsonOf(await legacy.append(lead, id, 0, parts[0] as Buffer))).toMatchObject({
      chunks_received: 4,
      bytes_received: 270_013,
    })
    expect(await idsStaged(harness)).toEqual([id])
    const recording = await jsonOf(await legacy.finalize(lead, id, 4))
    expect(await bytesOf(lead, recording.id)).toEqual(Buffer.concat(parts))
    await expect.poll(() => harness.files('uploads')).toEqual([])
  })

  test('may all come at once', async () => {
    const lead = await harness.lead()
    const id = await legacy.begin(lead)
    const parts = Array.from({ length: 20 }, (_, i) => noise(1_000 + i * 997))
    const answers = await Promise.all(parts.map((part, i) => legacy.append(lead, id, i, part)))
    expect(answers.map((res) => res.status)).toEqual(parts.map(() => 202))
    const recording = await jsonOf(await legacy.finalize(lead, id, 20))
    expect(await bytesOf(lead, recording.id)).toEqual(Buffer.concat(parts))
  })

  test('come again after a lost answer: stored once, at once or later', async () => {
    const lead = await harness.lead()
    const id = await legacy.begin(lead)
    const parts = [noise(5_000), noise(5_000), noise(5_000)]
    for (const i of [0, 0, 2, 2, 1, 1, 2, 0]) {
      const res = await legacy.append(lead, id, i, parts[i] as Buffer)
      expect(res.status).toBe(202)
    }
    expect(await idsStaged(harness)).toEqual([id])
    const [one, two] = await Promise.all([legacy.append(lead, id, 3, 'QUJD'), legacy.append(lead, id, 3, 'QUJD')])
    expect([one.status, two.status]).toEqual([202, 202])
    expect(await jsonOf(two)).toMatchObject({ chunks_received: 4, bytes_received: 15_003 })
    const recording = await jsonOf(await legacy.finalize(lead, id, 4))
    expect(await bytesOf(lead, recording.id)).toEqual(Buffer.concat([...parts, Buffer.from('ABC')]))
  })

  test.for([
    ['of the same size', [4_000, 4_000, 4_000]],
    ['longer', [4_000, 9_000, 4_000]],
    ['shorter', [4_000, 1, 4_000]],
  ] as const)('a corrected one replaces the earlier one, %s', async ([, sizes]) => {
    const lead = await harness.lead()
    const id = await legacy.begin(lead)
    const parts = sizes.map((size) => noise(size))
    await legacy.append(lead, id, 0, parts[0] as Buffer)
    await legacy.append(lead, id, 1, noise(4_000))
    await legacy.append(lead, id, 1, noise(333))
    await legacy.append(lead, id, 1, parts[1] as Buffer)
    await legacy.append(lead, id, 3, noise(77))
    await legacy.append(lead, id, 3, 'QUJD')
    const res = await legacy.append(lead, id, 2, parts[2] as Buffer)
    const total = parts.reduce((sum, part) => sum + part.length, 3)
    expect(await res.json()).toEqual({ upload_id: id, chunk_index: 2, chunks_received: 4, bytes_received: total })
    const recording = await jsonOf(await legacy.finalize(lead, id, 4))
    const expected = Buffer.concat([...parts, Buffer.from('ABC')])
    expect(await bytesOf(lead, recording.id)).toEqual(expected)
    expect(recording.sha256).toBe(sha256(expected))
    await expect.poll(() => harness.files('uploads')).toEqual([])
  })

  test('the list of chunks survives a restart', async () => {
    const lead = await harness.lead()
    const id = await legacy.begin(lead)
    const parts = [noise(5_000), noise(6_000), noise(7_000), noise(8_000)]
    await legacy.append(lead, id, 0, parts[0] as Buffer)
    await legacy.append(lead, id, 2, parts[2] as Buffer)
    parts[0] = noise(4_321)
    await legacy.append(lead, id, 0, parts[0])
    await harness.restart()
    const hole = await expectError(await legacy.finalize(lead, id, 4), 400, 'incomplete_upload')
    expect(hole.missing_chunks).toEqual([1, 3])
    await legacy.append(lead, id, 3, parts[3] as Buffer)
    await harness.restart()
    await legacy.append(lead, id, 1, parts[1] as Buffer)
    const recording = await jsonOf(await legacy.finalize(lead, id, 4))
    expect(await bytesOf(lead, recording.id)).toEqual(Buffer.concat(parts))
    await expect.poll(() => harness.files('uploads')).toEqual([])
  })
})

describe('finalize', () => {
  test('with holes tells which, loses nothing, and succeeds when they are filled', async () => {
    const lead = await harness.lead()
    const id = await legacy.begin(lead)
    await legacy.append(lead, id, 1, 'QUJD')
    await legacy.append(lead, id, 4, 'REVG')
    for (let i = 0; i < 2; i++) {
      const { missing_chunks } = await expectError(await legacy.finalize(lead, id, 6), 400, 'incomplete_upload')
      expect(missing_chunks).toEqual([0, 2, 3, 5])
    }
    for (const i of [0, 2, 3, 5]) await legacy.append(lead, id, i, 'eHl6')
    const recording = await jsonOf(await legacy.finalize(lead, id, 6))
    expect((await bytesOf(lead, recording.id)).toString()).toBe('xyzABCxyzxyzDEFxyz')
  })

  test('must name more chunks than the highest index, at least one, and no more than 100,000', async () => {
    const lead = await harness.lead()
    const id = await legacy.begin(lead)
    await legacy.append(lead, id, 0, 'QUJD')
    await legacy.append(lead, id, 1, 'QUJD')
    for (const total of [0, -1, 1, 1.5, 100_001, 'x', null]) {
      await expectError(await legacy.finalize(lead, id, total), 400, 'invalid_parameter')
    }
    await expectError(await legacy.finalize(lead, id, undefined), 400, 'missing_parameter')
    const nothing = await legacy.begin(lead)
    expect(
      (await expectError(await legacy.finalize(lead, nothing, 2), 400, 'incomplete_upload')).missing_chunks,
    ).toEqual([0, 1])
    expect((await legacy.finalize(lead, id, '2')).status).toBe(200)
    await legacy.cancel(lead, nothing)
  })

  test('again, or at once from two sides, gives the same recording', async () => {
    const lead = await harness.lead()
    const id = await legacy.begin(lead)
    await legacy.append(lead, id, 0, noise(100_000))
    await legacy.append(lead, id, 0, noise(90_000))
    const answers = await Promise.all([1, 2, 3, 4].map(() => legacy.finalize(lead, id, 1)))
    const again = await legacy.finalize(lead, id, 1)
    const bodies = await Promise.all([...answers, again].map(jsonOf))
    expect([...answers, again].map((res) => res.status)).toEqual([200, 200, 200, 200, 200])
    for (const body of bodies) expect(body).toEqual(bodies[0])
    await harness.restart()
    expect(await jsonOf(await legacy.finalize(lead, id, 1))).toEqual(bodies[0])
    const list = await jsonOf(await harness.api('GET', lead.recordings))
    expect(list.recordings).toHaveLength(1)
    await harness.api('DELETE', `${lead.recordings}/${bodies[0]?.id}`)
    await expectError(await legacy.finalize(lead, id, 1), 404, 'recording_not_found')
  })

  test('takes the call log from init, from itself, or from both when they agree', async () => {
    const lead = await harness.lead()
    const other = await harness.lead()
    await harness.api('PUT', `/api/leads/${lead.leadId}/call-logs/second-${lead.callLogId}`, {
      token: harness.tokens.crm,
      body: {},
    })
    const upload = async (init: Fields, finalize: Fields) => {
      const id = await legacy.begin(lead, init)
      await legacy.append(lead, id, 0, 'QUJD')
      return [id, await legacy.finalize(lead, id, 1, finalize)] as const
    }
    for (const [init, finalize] of [
      [{}, {}],
      [{ call_log_id: undefined }, {}],
      [{}, { call_log_id: undefined }],
    ] as const) {
      const [, res] = await upload(init, finalize)
      expect(res.status).toBe(200)
      expect((await jsonOf(res)).call_log_id).toBe(lead.callLogId)
    }
    const [id, differs] = await upload({}, { call_log_id: `second-${lead.callLogId}` })
    await expectError(differs, 400, 'call_log_mismatch')
    expect((await legacy.finalize(lead, id, 1)).status).toBe(200)
    const [nobodys, none] = await upload({ call_log_id: undefined }, { call_log_id: undefined })
    await expectError(none, 400, 'missing_parameter')
    await expectError(
      await legacy.finalize(lead, nobodys, 1, { call_log_id: other.callLogId }),
      404,
      'call_log_not_found',
    )
    await expectError(await legacy.finalize(lead, nobodys, 1, { call_log_id: 'unknown' }), 404, 'call_log_not_found')
    expect((await legacy.finalize(lead, nobodys, 1)).status).toBe(200)
    await expectError(await legacy.init(lead, { call_log_id: other.callLogId }), 404, 'call_log_not_found')
  })
})

describe('the end of an upload', () => {
  test('cancel takes its bytes away, also those that wait, and may be asked again', async () => {
    const lead = await harness.lead()
    const id = await legacy.begin(lead)
    await legacy.append(lead, id, 0, noise(1_000))
    await legacy.append(lead, id, 7, noise(1_000))
    expect(await harness.files('uploads')).toHaveLength(2)
    for (let i = 0; i < 2; i++) {
      const res = await legacy.cancel(lead, id)
      expect([res.status, await res.json()]).toEqual([200, { upload_id: id, status: 'cancelled' }])
    }
    await expect.poll(() => harness.files('uploads')).toEqual([])
    await expectError(await legacy.append(lead, id, 1, 'QUJD'), 409, 'upload_closed')
    await expectError(await legacy.finalize(lead, id, 1), 409, 'upload_closed')
    expect((await tus.head(`${lead.uploads}/${id}`)).status).toBe(410)
  })

  test('termination over tus is the same', async () => {
    const lead = await harness.lead()
    const id = await legacy.begin(lead)
    await legacy.append(lead, id, 1, noise(1_000))
    expect((await tus.terminate(`${lead.uploads}/${id}`)).status).toBe(204)
    await expect.poll(() => harness.files('uploads')).toEqual([])
    await expectError(await legacy.append(lead, id, 1, 'QUJD'), 409, 'upload_closed')
  })

  test('finalize leaves nothing to append to or to cancel', async () => {
    const lead = await harness.lead()
    const id = await legacy.begin(lead)
    await legacy.append(lead, id, 0, 'QUJD')
    const { id: recordingId } = await jsonOf(await legacy.finalize(lead, id, 1))
    await expectError(await legacy.append(lead, id, 1, 'QUJD'), 409, 'upload_closed')
    await expectError(await legacy.append(lead, id, 0, 'QUJD'), 409, 'upload_closed')
    await expectError(await legacy.cancel(lead, id), 409, 'upload_closed')
    expect((await bytesOf(lead, recordingId)).toString()).toBe('ABC')
  })

  test('silence ends it: 410, and its bytes are gone', async () => {
    const lead = await harness.lead()
    const id = await legacy.begin(lead)
    await legacy.append(lead, id, 0, noise(1_000))
    await legacy.append(lead, id, 5, noise(1_000))
    clock.advance(4 * 60_000)
    await legacy.append(lead, id, 6, noise(1_000))
    clock.advance(4 * 60_000)
    expect((await legacy.append(lead, id, 1, 'QUJD')).status).toBe(202)
    clock.advance(6 * 60_000)
    await expectError(await legacy.append(lead, id, 2, 'QUJD'), 410, 'upload_expired')
    await harness.service.sweep.run()
    await expect.poll(() => harness.files('uploads')).toEqual([])
    await expectError(await legacy.finalize(lead, id, 1), 410, 'upload_expired')
  })

  test('tus may not write into it', async () => {
    const lead = await harness.lead()
    const id = await legacy.begin(lead)
    await legacy.append(lead, id, 0, 'QUJD')
    const res = await tus.patch(`${lead.uploads}/${id}`, 3, noise(10))
    expect(res.status).toBe(403)
    const recording = await jsonOf(await legacy.finalize(lead, id, 1))
    expect((await bytesOf(lead, recording.id)).toString()).toBe('ABC')
    const url = await tus.begin(lead, 10)
    await expectError(await legacy.append(lead, url.split('/').pop() as string, 0, 'QUJD'), 404, 'upload_not_found')
    await tus.terminate(url)
  })
})

describe('who may', () => {
  test('another caller, another lead, a supervisor, nobody', async () => {
    const lead = await harness.lead()
    const second = await harness.lead()
    const id = await legacy.begin(lead)
    const as = (token: string) => legacyClient(harness, token)
    await expectError(await as(harness.tokens.other).append(lead, id, 0, 'QUJD'), 403, 'not_your_lead')
    await expectError(await as(harness.tokens.supervisor).init(lead), 403, 'forbidden')
    await expectError(await legacy.append(second, id, 0, 'QUJD'), 404, 'upload_not_found')
    await expectError(await legacy.append(lead, 'unknown', 0, 'QUJD'), 404, 'upload_not_found')
    await expectError(await legacy.append(lead, '../../etc/passwd', 0, 'QUJD'), 404, 'upload_not_found')
    await expectError(
      await legacy.init({ ...lead, recordings: lead.recordings.replace(lead.leadId, 'nobody') }),
      404,
      'lead_not_found',
    )
    const nobody = await fetch(lead.recordings, { method: 'POST', body: '{}' })
    expect(nobody.headers.get('www-authenticate')).toMatch(/^Bearer/)
    await expectError(nobody, 401, 'unauthenticated')
    expect((await as(harness.tokens.crm).append(lead, id, 0, 'QUJD')).status).toBe(202)
    // The lead moves to another telecaller while the upload is open.
    await harness.api('PUT', `/api/leads/${lead.leadId}`, {
      token: harness.tokens.crm,
      body: { telecaller_id: 'telecaller-b' },
    })
    await expectError(await legacy.finalize(lead, id, 1), 403, 'not_your_lead')
    await expectError(await as(harness.tokens.other).finalize(lead, id, 1), 403, 'not_your_upload')
    expect((await as(harness.tokens.crm).cancel(lead, id)).status).toBe(200)
  })

  test('no more uploads than allowed are open at once', async () => {
    const lead = await harness.lead('telecaller-many')
    const many = legacyClient(harness, await tokenFor({ sub: 'telecaller-many' }))
    const ids = []
    for (let i = 0; i < 64; i++) {
      const id = await many.begin(lead)
      ids.push(id)
      expect((await many.append(lead, id, 0, base64('0'))).status).toBe(202)
    }
    const res = await many.init(lead)
    expect(res.headers.get('retry-after')).not.toBeNull()
    await expectError(res, 503, 'too_many_uploads')
    await many.cancel(lead, ids[0] as string)
    expect((await many.init(lead)).status).toBe(201)
    for (const id of ids.slice(1)) await many.cancel(lead, id)
  })
})

describe('what is refused', () => {
  const append = { action: 'append', chunk_index: 0, chunk: 'QUJD' }
  test.for<[string, Fields | string, number, string]>([
    ['no action', {}, 400, 'missing_parameter'],
    ['an unknown action', { action: 'destroy' }, 400, 'invalid_parameter'],
    ['init without a file name', { action: 'init' }, 400, 'missing_parameter'],
    ['init with an empty file name', { action: 'init', filename: '' }, 400, 'invalid_parameter'],
    ['init with a name that is a folder', { action: 'init', filename: 'calls/' }, 400, 'invalid_parameter'],
    ['init with a type that is no audio', { action: 'init', filename: 'notes.txt' }, 415, 'unsupported_media_type'],
    ['append without an upload', { ...append, upload_id: undefined }, 400, 'missing_parameter'],
    ['append without an index', { ...append, chunk_index: undefined }, 400, 'missing_parameter'],
    ['a negative index', { ...append, chunk_index: -1 }, 400, 'invalid_parameter'],
    ['a fraction', { ...append, chunk_index: 0.5 }, 400, 'invalid_parameter'],
    ['an index of 100,000', { ...append, chunk_index: 100_000 }, 400, 'invalid_parameter'],
    ['no chunk', { ...append, chunk: undefined }, 400, 'missing_parameter'],
    ['a chunk that is no string', { ...append, chunk: 5 }, 400, 'missing_parameter'],
    ['an empty chunk', { ...append, chunk: '' }, 400, 'empty_upload'],
    ['a chunk that is no Base64', { ...append, chunk: 'QUJD*' }, 400, 'invalid_parameter'],
    ['a chunk that was cut', { ...append, chunk: 'QUJDR' }, 400, 'invalid_parameter'],
    ['a data URL', { ...append, chunk: 'data:audio/aac;base64,QUJD' }, 400, 'invalid_parameter'],
    ['what is no JSON', '{"action":"append"', 400, 'invalid_request'],
    ['an array', '[]', 400, 'invalid_request'],
    ['an empty body', '', 400, 'invalid_request'],
  ])('%s', async ([, body, status, code]) => {
    const lead = await harness.lead()
    const id = await legacy.begin(lead)
    const sent = typeof body === 'string' ? body : { upload_id: id, ...body }
    await expectError(await legacy.post(lead, sent), status, code)
    await expect.poll(() => harness.files('uploads')).toEqual([])
    await legacy.cancel(lead, id)
  })

  test('a body of another type, compressed, or in another character set', async () => {
    const lead = await harness.lead()
    const send = (type: string, headers = {}) =>
      harness.api('POST', lead.recordings, { body: '{"action":"init"}', headers: { 'content-type': type, ...headers } })
    for (const type of [
      'text/plain',
      'application/octet-stream',
      'audio/wav',
      'application/json; charset=utf-16',
      '',
    ]) {
      await expectError(await send(type), 415, 'unsupported_media_type')
    }
    await expectError(await send('application/json', { 'content-encoding': 'gzip' }), 415, 'unsupported_media_type')
    await expectError(await send('application/json; charset=UTF-8'), 400, 'missing_parameter')
  })

  test('a chunk over its limit, a body over its limit, an upload over its limit: 413, and nothing of it is kept', async () => {
    const lead = await harness.lead()
    const id = await legacy.begin(lead)
    const full = noise(1_048_576)
    expect((await legacy.append(lead, id, 0, full)).status).toBe(202)
    await expectError(await legacy.append(lead, id, 1, noise(1_048_577)), 413, 'too_large')
    await expectError(await legacy.append(lead, id, 1, noise(3_000_000)), 413, 'too_large')
    expect((await legacy.append(lead, id, 2, full)).status).toBe(202)
    expect((await legacy.append(lead, id, 3, full.subarray(0, 1_000_000))).status).toBe(202)
    await expectError(await legacy.append(lead, id, 1, noise(48_577)), 413, 'too_large')
    expect((await legacy.append(lead, id, 3, full)).status).toBe(202)
    await expectError(await legacy.append(lead, id, 1, 'QUJD'), 413, 'too_large')
    // Shorter than what it replaces: then there is room.
    expect((await legacy.append(lead, id, 3, noise(1_000_000))).status).toBe(202)
    expect(await jsonOf(await legacy.append(lead, id, 1, 'QUJD'))).toMatchObject({ bytes_received: 3_097_155 })
    expect((await legacy.finalize(lead, id, 4)).status).toBe(200)
  })

  test('a body beyond its limit is refused before it is read', async () => {
    const lead = await harness.lead()
    const connection = await connectTo(harness.url, { Authorization: `Bearer ${harness.tokens.telecaller}` })
    connection.head('POST', lead.recordings, { 'Content-Type': 'application/json', 'Content-Length': '900000000' })
    expect((await connection.answer()).status).toBe(413)
    connection.destroy()
    const endless = await connectTo(harness.url, { Authorization: `Bearer ${harness.tokens.telecaller}` })
    endless.head('POST', lead.recordings, { 'Content-Type': 'application/json', 'Transfer-Encoding': 'chunked' })
    for (let i = 0; i < 30; i++) endless.chunk(Buffer.alloc(65_536, 0x20))
    expect((await endless.answer()).status).toBe(413)
    endless.destroy()
    await expect.poll(() => harness.files('uploads')).toEqual([])
  })

  test('a body that is cut stores nothing', async () => {
    const lead = await harness.lead()
    const id = await legacy.begin(lead)
    const body = JSON.stringify({ action: 'append', upload_id: id, chunk_index: 0, chunk: base64(noise(90_000)) })
    const connection = await connectTo(harness.url, { Authorization: `Bearer ${harness.tokens.telecaller}` })
    connection.head('POST', lead.recordings, {
      'Content-Type': 'application/json',
      'Content-Length': String(body.length),
    })
    connection.send(body.slice(0, -1))
    connection.destroy()
    await connection.closed
    expect((await tus.head(`${lead.uploads}/${id}`)).headers.get('upload-offset')).toBe('0')
    expect((await legacy.append(lead, id, 0, 'QUJD')).status).toBe(202)
    await legacy.cancel(lead, id)
  })
})

describe('Base64 as clients make it', () => {
  const bytes = Buffer.from([0xfb, 0xff, 0xbf, 0x00, 0x3e, 0x3f, 0x41])
  test.for<[string, string]>([
    ['btoa', btoa(bytes.toString('latin1'))],
    ['Android NO_WRAP', bytes.toString('base64')],
    [
      'Android DEFAULT, with line breaks',
      `${bytes.toString('base64').slice(0, 4)}\n${bytes.toString('base64').slice(4)}\n`,
    ],
    ['Android URL_SAFE|NO_PADDING', bytes.toString('base64url')],
    [
      'iOS lineLength76, with carriage returns',
      `${bytes.toString('base64').slice(0, 8)}\r\n${bytes.toString('base64').slice(8)}`,
    ],
  ])('%s', async ([, chunk]) => {
    const lead = await harness.lead()
    const id = await legacy.begin(lead)
    expect((await legacy.append(lead, id, 0, chunk)).status).toBe(202)
    const recording = await jsonOf(await legacy.finalize(lead, id, 1))
    expect(await bytesOf(lead, recording.id)).toEqual(bytes)
  })

  test('with characters escaped that need not be', async () => {
    const lead = await harness.lead()
    const id = await legacy.begin(lead)
    const chunk = bytes.toString('base64').replaceAll('/', '\\/').replaceAll('+', '\\u002B').replaceAll('=', '\\u003d')
    const body = `{"chunk":"${chunk}","action":"append","upload_id":"${id}","chunk_index":0}`
    expect((await legacy.post(lead, body)).status).toBe(202)
    const recording = await jsonOf(await legacy.finalize(lead, id, 1))
    expect(await bytesOf(lead, recording.id)).toEqual(bytes)
  })
})

// A bucket's room is told by its own answer alone.
onDisk('a full disk refuses a chunk with 507, loses nothing, and is forgotten when there is room again', async () => {
  const lead = await harness.lead()
  const id = await legacy.begin(lead)
  const parts = [noise(1_000), noise(2_000), noise(3_000)]
  await legacy.append(lead, id, 0, parts[0] as Buffer)
  await legacy.append(lead, id, 2, parts[2] as Buffer)
  await harness.restart({ RECORDINGS_MIN_FREE_SPACE: '1000TiB' })
  for (const index of [1, 5]) {
    const res = await legacy.append(lead, id, index, parts[1] as Buffer)
    expect(res.headers.get('retry-after')).not.toBeNull()
    await expectError(res, 507, 'insufficient_storage')
  }
  await expectError(await legacy.init(lead), 507, 'insufficient_storage')
  await harness.restart({ RECORDINGS_MIN_FREE_SPACE: '0' })
  expect(await jsonOf(await legacy.append(lead, id, 1, parts[1] as Buffer))).toMatchObject({ chunks_received: 3 })
  const recording = await jsonOf(await legacy.finalize(lead, id, 3))
  expect(await bytesOf(lead, recording.id)).toEqual(Buffer.concat(parts))
})

test('a body of unknown length is taken, short or long', async () => {
  const lead = await harness.lead()
  const id = await legacy.begin(lead)
  const connection = await connectTo(harness.url, { Authorization: `Bearer ${harness.tokens.telecaller}` })
  const bytes = noise(700_000)
  for (const [index, part] of [bytes.subarray(0, 100), bytes.subarray(100)].entries()) {
    const body = JSON.stringify({ action: 'append', upload_id: id, chunk_index: index, chunk: base64(part) })
    connection.head('POST', lead.recordings, { 'Content-Type': 'application/json', 'Transfer-Encoding': 'chunked' })
    for (let at = 0; at < body.length; at += 50_000) connection.chunk(Buffer.from(body.slice(at, at + 50_000)))
    connection.lastChunk()
    expect((await connection.answer()).status).toBe(202)
  }
  connection.destroy()
  const recording = await jsonOf(await legacy.finalize(lead, id, 2))
  expect(await bytesOf(lead, recording.id)).toEqual(bytes)
})

describe('the same as a form', () => {
  const post = (lead: Lead, body: FormData | URLSearchParams) =>
    fetch(lead.recordings, { method: 'POST', body, headers: { authorization: `Bearer ${harness.tokens.telecaller}` } })
  const fields = (values: Record<string, string>) => {
    const form = new FormData()
    for (const [name, value] of Object.entries(values)) form.append(name, value)
    return form
  }
  const urlencoded = (values: Record<string, string>) => new URLSearchParams(values)

  test.for([
    ['multipart', fields],
    ['urlencoded', urlencoded],
  ] as const)('%s, with Base64', async ([, form]) => {
    const lead = await harness.lead()
    const begun = await post(lead, form({ action: 'init', filename: 'Anruf ä+b.aac', call_log_id: lead.callLogId }))
    expect(begun.status).toBe(201)
    const upload_id = (await jsonOf(begun)).upload_id as string
    const bytes = noise(150_001)
    for (const [i, part] of [bytes.subarray(0, 100_000), bytes.subarray(100_000)].entries()) {
      const chunk = part.toString('base64')
      const res = await post(lead, form({ action: 'append', upload_id, chunk_index: String(i), chunk }))
      expect(res.status).toBe(202)
    }
    const spoilt = await post(lead, form({ action: 'append', upload_id, chunk_index: '2', chunk: 'QU JD' }))
    await expectError(spoilt, 400, 'invalid_parameter')
    const res = await post(lead, form({ action: 'finalize', upload_id, total_chunks: '2', call_log_id: '' }))
    const recording = await jsonOf(res)
    expect(recording).toMatchObject({ size: 150_001, filename: 'Anruf ä+b.aac' })
    expect(await bytesOf(lead, recording.id)).toEqual(bytes)
  })

  test('multipart, with raw bytes, before or behind the other fields', async () => {
    const lead = await harness.lead()
    const id = await legacy.begin(lead)
    const bytes = noise(300_000)
    const first = new FormData()
    first.append('chunk', new Blob([bytes.subarray(0, 200_000)]), 'blob')
    first.append('action', 'append')
    first.append('upload_id', id)
    first.append('chunk_index', '0')
    expect(await jsonOf(await post(lead, first))).toMatchObject({ chunks_received: 1, bytes_received: 200_000 })
    const second = fields({ action: 'append', upload_id: id, chunk_index: '1' })
    second.append('chunk', new Blob([bytes.subarray(200_000)]), 'blob')
    expect((await post(lead, second)).status).toBe(202)
    const recording = await jsonOf(await legacy.finalize(lead, id, 2))
    expect(await bytesOf(lead, recording.id)).toEqual(bytes)
  })

  test('an empty raw chunk, a long one, two, and one with a file', async () => {
    const lead = await harness.lead()
    const id = await legacy.begin(lead)
    const append = (...chunks: Uint8Array[]) => {
      const form = fields({ action: 'append', upload_id: id, chunk_index: '0' })
      for (const chunk of chunks) form.append('chunk', new Blob([Buffer.from(chunk)]), 'blob')
      return form
    }
    await expectError(await post(lead, append(new Uint8Array())), 400, 'empty_upload')
    await expectError(await post(lead, append(noise(1_048_577))), 413, 'too_large')
    await expectError(await post(lead, append(noise(10), noise(10))), 400, 'invalid_parameter')
    const both = append(noise(10))
    both.append('file', new Blob([noise(10)]), 'call.wav')
    await expectError(await post(lead, both), 400, 'invalid_request')
    await expect.poll(() => harness.files('uploads')).toEqual([])
    await legacy.cancel(lead, id)
  })
})

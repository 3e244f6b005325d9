import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { fixtureBytes } from './support/fixtures.ts'
import { connectTo } from './support/raw.ts'
import { jsonOf, startService } from './support/service.ts'
import { openUploads, tablesOf } from './support/tables.ts'
import { noise } from './support/tus.ts'

const harness = await startService({
  env: { RECORDINGS_MAX_UPLOAD_SIZE: '2MiB', RECORDINGS_MAX_UPLOADS_PER_CALLER: '3' },
})
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')
const auth = { authorization: `Bearer ${harness.tokens.telecaller}` }

type Lead = Awaited<ReturnType<typeof harness.lead>>
type Value = string | [bytes: Uint8Array, filename: string]

function form(...entries: [string, Value][]): FormData {
  const data = new FormData()
  for (const [name, value] of entries) {
    if (typeof value === 'string') data.append(name, value)
    else data.append(name, new Blob([Buffer.from(value[0])]), value[1])
  }
  return data
}
const post = (lead: Lead, body: FormData, headers: Record<string, string> = auth) =>
  fetch(lead.recordings, { method: 'POST', headers, body })

/** Nothing of it is left: no bytes, no open upload that would count, no recording. */
async function expectNothing(lead: Lead) {
  await expect.poll(() => harness.files('uploads')).toEqual([])
  const list = await jsonOf(await harness.api('GET', lead.recordings))
  expect(list.recordings).toEqual([])
  await expect.poll(() => openUploads(harness)).toEqual([])
}

async function expectError(res: Response, status: number, code: string) {
  const body = await jsonOf(res)
  expect([res.status, body.code]).toEqual([status, code])
  expect(body.error).toMatch(/^[A-Z].{5,200}\.$/)
}

describe('one file in one form', () => {
  test.for(['file first', 'file last'] as const)('becomes a recording: %s', async (order) => {
    const lead = await harness.lead()
    const bytes = noise(1_500_000)
    const entries: [string, Value][] = [
      ['file', [bytes, 'Gespräch – 1.WAV']],
      ['call_log_id', lead.callLogId],
    ]
    const res = await post(lead, form(...(order === 'file first' ? entries : entries.reverse())))
    expect(res.status).toBe(200)
    const recording = await jsonOf(res)
    expect(recording).toMatchObject({
      lead_id: lead.leadId,
      call_log_id: lead.callLogId,
      telecaller_id: 'telecaller-a',
      filename: 'Gespräch – 1.WAV',
      size: bytes.length,
      sha256: sha256(bytes),
      content_type: 'audio/wav',
    })
    const played = await fetch(recording.url as string, { headers: auth })
    expect(Buffer.from(await played.arrayBuffer())).toEqual(bytes)
    await expect.poll(() => harness.files('uploads')).toEqual([])
  })

  test('of one byte', async () => {
    const lead = await harness.lead()
    const res = await post(lead, form(['file', [Buffer.from('x'), 'a.mp3']], ['call_log_id', lead.callLogId]))
    expect(await jsonOf(res)).toMatchObject({ size: 1, filename: 'a.mp3' })
  })

  test('keeps of its name the base name, and never uses it as a path', async () => {
    const lead = await harness.lead()
    for (const [given, kept] of [
      ['../../../etc/cron.d/call.wav', 'call.wav'],
      ['C:\\calls\\call.wav', 'call.wav'],
      ['..wav', '..wav'],
      ['通話 🎙.wav', '通話 🎙.wav'],
    ] as const) {
      const recording = await jsonOf(
        await post(lead, form(['file', [fixtureBytes('tone.wav'), given]], ['call_log_id', lead.callLogId])),
      )
      expect(recording.filename).toBe(kept)
      expect(recording.path).toMatch(new RegExp(`^${lead.leadId}/${lead.callLogId}_\\d{8}T\\d{6}Z_[0-9a-f]{12}\\.wav$`))
    }
  })
})

describe('is refused, and leaves nothing behind', () => {
  const file: [string, Value] = ['file', [noise(300_000), 'call.wav']]
  test.for<[string, (lead: Lead) => FormData, number, string]>([
    ['an empty form', () => form(), 400, 'missing_parameter'],
    ['no file', (lead) => form(['call_log_id', lead.callLogId]), 400, 'missing_parameter'],
    [
      'a file that is a field',
      (lead) => form(['file', 'bytes'], ['call_log_id', lead.callLogId]),
      400,
      'missing_parameter',
    ],
    ['no call log', () => form(file), 400, 'missing_parameter'],
    ['an empty call log', () => form(file, ['call_log_id', '']), 400, 'invalid_parameter'],
    ['an unknown call log', () => form(file, ['call_log_id', 'unknown']), 404, 'call_log_not_found'],
    [
      'an empty file',
      (lead) => form(['file', [new Uint8Array(), 'call.wav']], ['call_log_id', lead.callLogId]),
      400,
      'empty_upload',
    ],
    ['two files', (lead) => form(file, file, ['call_log_id', lead.callLogId]), 400, 'invalid_request'],
    [
      'a file of another name',
      (lead) => form(['audio', [noise(10), 'call.wav']], ['call_log_id', lead.callLogId]),
      400,
      'invalid_request',
    ],
    [
      'a file and another of another name',
      (lead) => form(file, ['audio', [noise(10), 'call.wav']], ['call_log_id', lead.callLogId]),
      400,
      'invalid_request',
    ],
    [
      'a type that is no audio',
      (lead) => form(['file', [noise(10), 'call.exe']], ['call_log_id', lead.callLogId]),
      415,
      'unsupported_media_type',
    ],
    [
      'no type',
      (lead) => form(['file', [noise(10), 'blob']], ['call_log_id', lead.callLogId]),
      415,
      'unsupported_media_type',
    ],
    ['a file with an action', () => form(file, ['action', 'init']), 400, 'invalid_request'],
    ['an action with a file', () => form(['action', 'init'], file), 400, 'invalid_request'],
    [
      'a file over the limit',
      (lead) => form(['file', [noise(2_097_153), 'call.wav']], ['call_log_id', lead.callLogId]),
      413,
      'too_large',
    ],
    [
      '33 fields',
      (lead) => form(file, ...Array.from({ length: 33 }, (): [string, Value] => ['call_log_id', lead.callLogId])),
      400,
      'invalid_request',
    ],
    [
      'a field over 64 KiB',
      (lead) => form(file, ['call_log_id', lead.callLogId], ['note', 'x'.repeat(65_537)]),
      400,
      'invalid_request',
    ],
  ])('%s', async ([, body, status, code]) => {
    const lead = await harness.lead()
    await expectError(await post(lead, body(lead)), status, code)
    await expectNothing(lead)
  })

  test("another telecaller's lead, an unknown lead, a supervisor, nobody", async () => {
    const lead = await harness.lead()
    const whole = form(file, ['call_log_id', lead.callLogId])
    const as = (token: string) => post(lead, whole, { authorization: `Bearer ${token}` })
    await expectError(await as(harness.tokens.other), 403, 'not_your_lead')
    await expectError(await as(harness.tokens.supervisor), 403, 'forbidden')
    await expectError(await post(lead, whole, {}), 401, 'unauthenticated')
    await expectError(
      await post({ ...lead, recordings: `${lead.recordings.replace(lead.leadId, 'nobody')}` }, whole),
      404,
      'lead_not_found',
    )
    const other = await harness.lead()
    await expectError(await post(lead, form(file, ['call_log_id', other.callLogId])), 404, 'call_log_not_found')
    await expectNothing(lead)
  })

  test('a form without a boundary, without an end, or that is none', async () => {
    const lead = await harness.lead()
    const send = (type: string, body: string) =>
      fetch(lead.recordings, { method: 'POST', body, headers: { ...auth, 'content-type': type } })
    const begun = '--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n0123456789'
    await expectError(await send('multipart/form-data', begun), 400, 'invalid_request')
    await expectError(await send('multipart/form-data; boundary=b', begun), 400, 'invalid_request')
    await expectError(await send('multipart/form-data; boundary=b', `${begun}\r\n--b`), 400, 'invalid_request')
    await expectError(await send('multipart/form-data; boundary=b', 'nothing of it'), 400, 'invalid_request')
    await expectError(
      await send('multipart/form-data; boundary=b', `--b\r\nX: 1\r\n\r\n1\r\n--b--`),
      400,
      'invalid_request',
    )
    await expectError(await send('multipart/mixed; boundary=b', begun), 415, 'unsupported_media_type')
    await expectNothing(lead)
  })

  test('a lead that moved to another telecaller while the file came', async () => {
    const lead = await harness.lead()
    const connection = await connectTo(harness.url, auth)
    const head = '--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    const tail = `\r\n--b\r\nContent-Disposition: form-data; name="call_log_id"\r\n\r\n${lead.callLogId}\r\n--b--\r\n`
    connection.head('POST', lead.recordings, {
      'Content-Type': 'multipart/form-data; boundary=b',
      'Content-Length': String(head.length + 10 + tail.length),
    })
    connection.send(`${head}0123`)
    await expect.poll(() => openUploads(harness)).toHaveLength(1)
    await harness.api('PUT', `/api/leads/${lead.leadId}`, {
      token: harness.tokens.crm,
      body: { telecaller_id: 'telecaller-b' },
    })
    connection.send(`456789${tail}`)
    expect((await connection.answer()).status).toBe(403)
    connection.destroy()
    await harness.api('PUT', `/api/leads/${lead.leadId}`, {
      token: harness.tokens.crm,
      body: { telecaller_id: 'telecaller-a' },
    })
    await expectNothing(lead)
  })

  test('a connection that is cut, wherever', async () => {
    const lead = await harness.lead()
    const bytes = noise(400_000).toString('latin1')
    const whole = `--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n${bytes}\r\n--b\r\nContent-Disposition: form-data; name="call_log_id"\r\n\r\n${lead.callLogId}\r\n--b--\r\n`
    for (const length of [10, 100, 80_000, 400_000, whole.length - 30, whole.length - 3]) {
      const connection = await connectTo(harness.url, auth)
      connection.head('POST', lead.recordings, {
        'Content-Type': 'multipart/form-data; boundary=b',
        'Content-Length': String(whole.length),
      })
      connection.send(Buffer.from(whole.slice(0, length), 'latin1'))
      if (length > 80_000) await expect.poll(() => openUploads(harness)).toHaveLength(1)
      connection.destroy()
      await connection.closed
      await expectNothing(lead)
    }
  })

  test('more at once than a caller may have open', async () => {
    const lead = await harness.lead()
    const head = '--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n0123'
    const open = await Promise.all(
      [1, 2, 3].map(async () => {
        const connection = await connectTo(harness.url, auth)
        connection.head('POST', lead.recordings, {
          'Content-Type': 'multipart/form-data; boundary=b',
          'Content-Length': '1000',
        })
        connection.send(head)
        return connection
      }),
    )
    await expect.poll(() => openUploads(harness)).toHaveLength(3)
    const res = await post(lead, form(file, ['call_log_id', lead.callLogId]))
    expect(res.headers.get('retry-after')).not.toBeNull()
    await expectError(res, 503, 'too_many_uploads')
    for (const connection of open) connection.destroy()
    await expectNothing(lead)
    expect((await post(lead, form(file, ['call_log_id', lead.callLogId]))).status).toBe(200)
  })
})

test('a connection that falls silent is ended, and leaves nothing', async () => {
  const impatient = await startService({ env: { RECORDINGS_IDLE_TIMEOUT: '200ms' } })
  const lead = await impatient.lead()
  const connection = await connectTo(impatient.url, auth)
  connection.head('POST', lead.recordings, {
    'Content-Type': 'multipart/form-data; boundary=b',
    'Content-Length': '500',
  })
  connection.send('--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n0123')
  await connection.closed
  await expect.poll(() => impatient.files('uploads')).toEqual([])
  const states = async () => (await tablesOf(impatient).query.uploads.findMany()).map((row) => row.state)
  await expect.poll(states).toEqual(['terminated'])
})

test('a client that waits for 100 Continue is asked for its body only when it is wanted', async () => {
  const lead = await harness.lead()
  const other = await harness.lead('telecaller-b')
  const head = { 'Content-Type': 'multipart/form-data; boundary=b', Expect: '100-continue' }
  const refused = await connectTo(harness.url, auth)
  refused.head('POST', other.recordings, { ...head, 'Content-Length': '100' })
  expect((await refused.answer()).status).toBe(403)
  refused.destroy()
  const long = await connectTo(harness.url, auth)
  long.head('POST', lead.recordings, { ...head, 'Content-Length': '900000000' })
  expect((await long.answer()).status).toBe(413)
  long.destroy()
  const taken = await connectTo(harness.url, auth)
  const body = `--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n0123\r\n--b\r\nContent-Disposition: form-data; name="call_log_id"\r\n\r\n${lead.callLogId}\r\n--b--\r\n`
  taken.head('POST', lead.recordings, { ...head, 'Content-Length': String(body.length) })
  expect((await taken.answer()).status).toBe(100)
  taken.send(body)
  expect((await taken.answer()).status).toBe(200)
  taken.destroy()
})

describe('the name of a file, as phones write it', () => {
  const send = async (parameters: string) => {
    const lead = await harness.lead()
    const body = `--b\r\nContent-Disposition: form-data; name="file"; ${parameters}\r\n\r\n0123\r\n--b\r\nContent-Disposition: form-data; name="call_log_id"\r\n\r\n${lead.callLogId}\r\n--b--\r\n`
    return jsonOf(
      await fetch(lead.recordings, {
        method: 'POST',
        body,
        headers: { ...auth, 'content-type': 'multipart/form-data; boundary=b' },
      }),
    )
  }
  test.for([
    ['filename="Anruf ä.wav"', 'Anruf ä.wav'],
    ['filename="x.wav"; filename*=UTF-8\'\'Anruf%20%C3%A4.wav', 'Anruf ä.wav'],
    ["filename*=UTF-8''..%2F..%2Fa.wav", 'a.wav'],
    ['filename="a%22b.wav"', 'a"b.wav'],
  ] as const)('%s', async ([parameters, expected]) => {
    expect((await send(parameters)).filename).toBe(expected)
  })
})

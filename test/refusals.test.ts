/** What a refusal tells beside its status: what would be taken, and its code where there is no body to say it in. */
import { gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { base64, legacyClient } from './support/legacy.ts'
import { connectTo } from './support/raw.ts'
import { record } from './support/recordings.ts'
import { jsonOf, startService } from './support/service.ts'
import { metadata, noise, OFFSET_TYPE, tusClient } from './support/tus.ts'

const service = await startService({ env: { RECORDINGS_CORS_ORIGINS: 'https://crm.example' } })
const { telecaller, crm } = service.tokens
const tus = tusClient(telecaller)
const lead = await service.lead()
const recording = await record(service, '0123456789', { lead })
const creation = {
  'upload-length': '5',
  'upload-metadata': metadata({ filename: 'a.wav', call_log_id: lead.callLogId }),
}
const MARK = '\uFEFF'

describe('415 lists what is taken', () => {
  const LEGACY = 'application/json, multipart/form-data, application/x-www-form-urlencoded'
  const text = { 'content-type': 'text/plain' }
  test('by tus', async () => {
    const patched = await tus.patch(await tus.begin(lead, 5), 0, noise(5), text)
    expect([patched.status, patched.headers.get('accept-patch')]).toEqual([415, OFFSET_TYPE])
    expect(await patched.text()).toContain(OFFSET_TYPE)
    const created = await tus.create(lead.uploads, { ...creation, ...text }, noise(5))
    expect([created.status, created.headers.get('accept-post')]).toEqual([415, OFFSET_TYPE])
  })
  test.for(['text/plain', 'application/json; charset=latin1', ''])('where chunks and forms go: %s', async (type) => {
    const res = await service.api('POST', lead.recordings, { body: 'x', headers: { 'content-type': type } })
    expect([res.status, res.headers.get('accept-post')]).toEqual([415, LEGACY])
    const { error } = await jsonOf(res)
    for (const taken of LEGACY.split(', ')) expect(error).toContain(taken)
  })
  test.for([
    ['PUT', `/api/leads/${lead.leadId}`],
    ['PUT', `/api/leads/${lead.leadId}/call-logs/${lead.callLogId}`],
    ['POST', `${recording.url}/playback-links`],
  ] as const)('%s %s', async ([method, where]) => {
    for (const headers of [text, { 'content-type': 'application/json; charset=ebcdic' }]) {
      const res = await service.api(method, where, { token: crm, body: '{}', headers })
      expect([res.status, res.headers.get('accept')]).toEqual([415, 'application/json'])
      expect(res.headers.get('accept-post')).toBe(method === 'POST' ? 'application/json' : null)
      expect((await jsonOf(res)).error).toMatch(/JSON/)
    }
    const res = await service.api(method, where, {
      token: crm,
      body: '{}',
      headers: { 'content-encoding': 'compress' },
    })
    expect([res.status, res.headers.get('accept-encoding')]).toEqual([415, 'gzip, deflate, br, identity'])
  })
  test('of file names', async () => {
    const res = await legacyClient(service).init(lead, { filename: 'a.txt' })
    expect(res.status).toBe(415)
    for (const extension of ['.wav', '.m4a', '.amr', '.opus'])
      expect((await jsonOf(res.clone())).error).toContain(extension)
  })
})

describe('bytes that are compressed are 415 at every door, and nothing is kept', () => {
  const forms = (encoding: Record<string, string>, part = '') => ({
    headers: { 'content-type': 'multipart/form-data; boundary=b', ...encoding },
    body: `--b\r\nContent-Disposition: form-data; name="call_log_id"\r\n\r\n${lead.callLogId}\r\n--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n${part}\r\nbytes\r\n--b--\r\n`,
  })
  test.for(['gzip', 'br', 'GZIP', 'identity, gzip', 'x-unheard-of'])('%s', async (coding) => {
    const coded = { 'content-encoding': coding }
    const before = await service.files('recordings')
    const url = await tus.begin(lead, 30)
    const answers = [
      await tus.patch(url, 0, gzipSync('bytes'), coded),
      await tus.create(lead.uploads, { ...creation, ...coded }, noise(5)),
      await service.api('POST', lead.recordings, { body: gzipSync('{"action":"init"}'), headers: coded }),
      await service.api('POST', lead.recordings, forms(coded)),
      await service.api('POST', lead.recordings, forms({}, `Content-Encoding: ${coding}\r\n`)),
    ]
    for (const res of answers) expect([res.status, res.headers.get('accept-encoding')]).toEqual([415, 'identity'])
    expect((await tus.head(url)).headers.get('upload-offset')).toBe('0')
    expect(await service.files('recordings')).toEqual(before)
  })
  test('so is a part of a form in Base64', async () => {
    const part = (encoding: string) =>
      service.api('POST', lead.recordings, forms({}, `Content-Transfer-Encoding: ${encoding}\r\n`))
    expect((await part('base64')).status).toBe(415)
    expect((await part('quoted-printable')).status).toBe(415)
    expect((await part('binary')).status).toBe(200)
    expect((await part('8BIT')).status).toBe(200)
  })
  test('so is a body that is compressed for the way', async () => {
    const url = await tus.begin(lead, 30)
    const connection = await connectTo(service.url, { Authorization: `Bearer ${telecaller}` })
    connection.head('PATCH', url, {
      'Tus-Resumable': '1.0.0',
      'Upload-Offset': '0',
      'Content-Type': OFFSET_TYPE,
      'Transfer-Encoding': 'gzip, chunked',
    })
    connection.chunk(gzipSync('bytes'))
    connection.lastChunk()
    expect((await connection.answer()).status).toBe(415)
    connection.destroy()
    expect((await tus.head(url)).headers.get('upload-offset')).toBe('0')
  })
  test('identity is none', async () => {
    const identity = { 'content-encoding': 'Identity' }
    expect((await tus.create(lead.uploads, { ...creation, ...identity }, noise(5))).status).toBe(201)
    expect((await service.api('POST', lead.recordings, forms(identity))).status).toBe(200)
  })
})

describe('a byte order mark in front of JSON is passed over', () => {
  const put = (path: string, body: unknown) =>
    service.api('PUT', path, { token: crm, body: MARK + JSON.stringify(body) })
  test('where the CRM writes', async () => {
    expect((await put('/api/leads/marked', { telecaller_id: 'a' })).status).toBe(201)
    expect((await put('/api/leads/marked/call-logs/marked-call', {})).status).toBe(201)
  })
  test('where links are made', async () => {
    const body = `${MARK}{"expires_in_seconds":60}`
    expect((await service.api('POST', `${recording.url}/playback-links`, { body })).status).toBe(201)
  })
  test('where chunks come', async () => {
    const legacy = legacyClient(service)
    const post = (body: unknown) => legacy.post(lead, Buffer.from(MARK + JSON.stringify(body)))
    const init = await post({ action: 'init', filename: 'a.wav', call_log_id: lead.callLogId })
    const { upload_id } = await jsonOf(init)
    expect(init.status).toBe(201)
    const append = await post({ action: 'append', upload_id, chunk_index: 0, chunk: base64('0123456789') })
    expect(await jsonOf(append)).toMatchObject({ bytes_received: 10 })
    const done = await post({ action: 'finalize', upload_id, total_chunks: 1, call_log_id: lead.callLogId })
    expect(await (await service.api('GET', (await jsonOf(done)).url as string)).text()).toBe('0123456789')
  })
  test('but not two', async () => {
    const body = `${MARK}${MARK}{"action":"init"}`
    expect((await service.api('POST', lead.recordings, { body })).status).toBe(400)
  })
})

describe('HEAD says its error’s code in a header, which other origins may read', () => {
  const head = (url: string, headers: Record<string, string> = {}, token: string | null = telecaller) =>
    service.api('HEAD', url, { token, headers: { origin: 'https://crm.example', ...headers } })
  const resumable = { 'tus-resumable': '1.0.0' }
  test.for<[string, () => Promise<Response>, number, string]>([
    ['an upload that is not there', () => head(`${lead.uploads}/none`, resumable), 404, 'upload_not_found'],
    ['no token', () => head(`${lead.uploads}/none`, resumable, null), 401, 'unauthenticated'],
    ['no version', () => head(`${lead.uploads}/none`), 412, 'unsupported_tus_version'],
    ['a recording that is not there', () => head(`${lead.recordings}/none`), 404, 'recording_not_found'],
    ['another telecaller', () => head(recording.url, {}, service.tokens.other), 403, 'not_your_lead'],
    ['a condition', () => head(recording.url, { 'if-match': '"x"' }), 412, 'precondition_failed'],
    ['no route', () => head('/api/none'), 404, 'route_not_found'],
    [
      'an upload that was ended',
      async () => {
        const url = await tus.begin(lead, 5)
        await tus.terminate(url)
        return head(url, resumable)
      },
      410,
      'upload_terminated',
    ],
  ])('%s', async ([, ask, status, code]) => {
    const res = await ask()
    expect([res.status, res.headers.get('error-code')]).toEqual([status, code])
    expect(res.headers.get('access-control-expose-headers')?.split(',')).toContain('Error-Code')
  })
  test('what is no error has none, and a body says it by itself', async () => {
    expect((await head(recording.url)).headers.has('error-code')).toBe(false)
    expect((await service.api('GET', `${lead.recordings}/none`)).headers.has('error-code')).toBe(false)
  })
})

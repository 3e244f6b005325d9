/** What a route does not know is refused and named, instead of being passed over in silence. */
import { describe, expect, test } from 'vitest'
import { base64, legacyClient } from './support/legacy.ts'
import { record } from './support/recordings.ts'
import { jsonOf, startService } from './support/service.ts'
import { metadata, OFFSET_TYPE, tusClient } from './support/tus.ts'

const harness = await startService()
const { telecaller, crm } = harness.tokens
const lead = await harness.lead()
const recording = await record(harness, '0123456789', { lead })
const link = await jsonOf(await harness.api('POST', `${recording.url}/playback-links`, { body: {} }))
const tus = tusClient(telecaller)
const upload = await tus.begin(lead, 10)
const leadPath = `/api/leads/${lead.leadId}`
const callPath = `${leadPath}/call-logs/${lead.callLogId}`
const tusHeaders = { 'tus-resumable': '1.0.0' }
const named = { 'upload-length': '1', 'upload-metadata': metadata({ filename: 'a.wav', call_log_id: lead.callLogId }) }

interface Route {
  token?: string | null
  headers?: Record<string, string>
  body?: unknown
}

const ROUTES: [method: string, what: string, path: string, route?: Route][] = [
  ['GET', 'liveness', '/livez', { token: null }],
  ['GET', 'readiness', '/readyz', { token: null }],
  ['PUT', 'a lead', leadPath, { token: crm, body: { telecaller_id: 'telecaller-a' } }],
  ['PUT', 'a call log', callPath, { token: crm, body: {} }],
  ['GET', 'the caller', '/api/me'],
  ['GET', 'leads', '/api/leads'],
  ['GET', 'a lead', leadPath],
  ['GET', 'calls', `${leadPath}/call-logs`],
  ['GET', 'a call', callPath],
  ['GET', 'recordings across leads', '/api/recordings'],
  ['GET', 'figures', '/api/statistics'],
  ['GET', 'the open uploads', lead.uploads],
  ['POST', 'an upload', lead.uploads, { headers: { ...tusHeaders, ...named } }],
  ['HEAD', 'an upload', upload, { headers: tusHeaders }],
  ['PATCH', 'an upload', upload, { headers: { ...tusHeaders, 'upload-offset': '0', 'content-type': OFFSET_TYPE } }],
  ['DELETE', 'an upload', upload, { headers: tusHeaders }],
  ['GET', 'the recordings', lead.recordings],
  ['GET', 'a recording', recording.url],
  ['HEAD', 'a recording', recording.url],
  ['GET', 'a playback link', String(link.url), { token: null }],
  ['GET', 'the details', `${recording.url}/details`],
  ['POST', 'a playback link', `${recording.url}/playback-links`, { body: {} }],
  ['DELETE', 'a recording', recording.url],
]

describe('a query parameter that the route does not know', () => {
  test.for(ROUTES)('%s %s is 400 and named, and nothing is done', async ([method, , path, route = {}]) => {
    const res = await harness.api(method, `${path}${path.includes('?') ? '&' : '?'}nonsense=1`, route)
    expect(res.status).toBe(400)
    if (method !== 'HEAD') expect(await res.text()).toContain('nonsense')
    expect((await tus.head(upload)).headers.get('upload-offset')).toBe('0')
    expect((await harness.api('HEAD', recording.url)).status).toBe(200)
  })

  test('is told in a code of its own, in problem+json and in tus’ text', async () => {
    const told = await jsonOf(await harness.api('GET', `${lead.recordings}?since=2026-01-01&limit=1`))
    expect(told).toMatchObject({ code: 'unknown_parameter', detail: expect.stringContaining('since') })
    const res = await harness.api('POST', `${lead.uploads}?since=1`, { headers: { ...tusHeaders, ...named } })
    expect(await res.text()).toMatch(/^unknown_parameter: .*since/)
  })

  test('made of a thousand characters is not repeated whole', async () => {
    const res = await harness.api('GET', `${lead.recordings}?${'x'.repeat(1_000)}=1`)
    expect(res.status).toBe(400)
    expect((await res.text()).length).toBeLessThan(600)
  })

  test('is still 401 without a token', async () => {
    expect((await harness.api('GET', `${lead.recordings}?nonsense=1`, { token: null })).status).toBe(401)
  })

  test('known ones may come once', async () => {
    expect((await harness.api('GET', `${lead.recordings}?limit=1&limit=2`)).status).toBe(400)
    expect((await harness.api('GET', `${recording.url}?download`)).status).toBe(200)
  })
})

describe('a JSON field that the route does not know', () => {
  test.for(ROUTES.filter(([, , , route]) => route?.body !== undefined))(
    '%s %s is 400 and named',
    async ([method, , path, route = {}]) => {
      const res = await harness.api(method, path, { ...route, body: { ...(route.body as object), nonsense: 1 } })
      expect(res.status).toBe(400)
      expect(await jsonOf(res)).toMatchObject({ code: 'unknown_parameter', error: expect.stringContaining('nonsense') })
    },
  )

  test('is let pass with the actions of legacy clients, in JSON and as a form', async () => {
    const legacy = legacyClient(harness)
    const id = await legacy.begin(lead, { device: 'pixel', user_id: 7 })
    const form = new FormData()
    for (const [name, value] of Object.entries({
      action: 'append',
      upload_id: id,
      chunk_index: '0',
      chunk: base64('0123'),
      app: '2',
    })) {
      form.append(name, value)
    }
    const headers = { authorization: `Bearer ${telecaller}` }
    expect((await fetch(lead.recordings, { method: 'POST', headers, body: form })).status).toBe(202)
    expect((await legacy.finalize(lead, id, 1, { version: '1.2' })).status).toBe(200)
  })
})

describe('a form with a file', () => {
  const send = (fields: [string, string][], query = '') => {
    const form = new FormData()
    form.append('file', new Blob(['0123456789']), 'call.wav')
    for (const [name, value] of fields) form.append(name, value)
    const headers = { authorization: `Bearer ${telecaller}` }
    return fetch(lead.recordings + query, { method: 'POST', headers, body: form })
  }

  test.for(['nonsense', '__proto__', 'constructor'])(
    'and a field %s is 400, names it, and leaves nothing',
    async (name) => {
      const before = await harness.files('recordings')
      const res = await send([
        ['call_log_id', lead.callLogId],
        [name, '1'],
      ])
      expect(res.status).toBe(400)
      expect(await jsonOf(res)).toMatchObject({ code: 'unknown_parameter', error: expect.stringContaining(name) })
      expect(await harness.files('recordings')).toEqual(before)
      const { uploads } = (await jsonOf(await harness.api('GET', lead.uploads))) as { uploads: { door: string }[] }
      expect(uploads.filter(({ door }) => door === 'simple')).toEqual([])
    },
  )

  test('and a query is 400', async () => {
    const res = await send([['call_log_id', lead.callLogId]], '?nonsense=1')
    expect(res.status).toBe(400)
    expect(await res.text()).toContain('nonsense')
  })

  test('and a chunk behind it is 400', async () => {
    const res = await send([
      ['call_log_id', lead.callLogId],
      ['chunk', 'MDEy'],
    ])
    expect(res.status).toBe(400)
  })
})

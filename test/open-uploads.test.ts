/** A caller's open uploads: listed, and given up when nothing ever came of them. */
import { describe, expect, test } from 'vitest'
import { base64, legacyClient } from './support/legacy.ts'
import { connectTo } from './support/raw.ts'
import { jsonOf, movingClock, startService, type TestLead } from './support/service.ts'
import { metadata, noise, tusClient } from './support/tus.ts'

const HOUR_MS = 3_600_000
const clock = movingClock()
/** Of an upload that another instance has begun, the first bytes may be on their way for so long. */
const BYTES_FOLLOW_WITHIN_MS = 1_000
const harness = await startService({ clock, env: { RECORDINGS_MAX_UPLOADS_PER_CALLER: '8' } })
const { tokens } = harness
const tus = tusClient(tokens.telecaller)
const legacy = legacyClient(harness)

interface Listed {
  id: string
  door: string
  url: string
  [field: string]: unknown
}

const listed = async (lead: TestLead, token = tokens.telecaller): Promise<Listed[]> => {
  const res = await harness.api('GET', lead.uploads, { token })
  expect(res.status).toBe(200)
  return ((await jsonOf(res)) as { uploads: Listed[] }).uploads
}

const form = (lead: TestLead) => {
  const body = new FormData()
  body.append('file', new Blob([noise(100)]), 'call.wav')
  body.append('call_log_id', lead.callLogId)
  const headers = { authorization: `Bearer ${tokens.telecaller}` }
  return fetch(lead.recordings, { method: 'POST', headers, body })
}

/** Ends what is open, so that the tests do not stand in each other's way. */
async function cleanUp(lead: TestLead) {
  for (const { url } of await listed(lead, tokens.crm)) await tusClient(tokens.crm).terminate(url)
}

describe('the list of open uploads', () => {
  test('tells what an app needs to go on, of every door, the newest first', async () => {
    const lead = await harness.lead()
    const url = await tus.begin(lead, 10, 'a.wav')
    await tus.patch(url, 0, noise(4))
    clock.advance(1_000)
    const chunked = await legacy.begin(lead, { filename: 'b.aac' })
    await legacy.append(lead, chunked, 0, base64('012'))
    const [second, first] = await listed(lead)
    expect(first).toEqual({
      id: url.split('/').at(-1),
      door: 'tus',
      filename: 'a.wav',
      call_log_id: lead.callLogId,
      offset: 4,
      length: 10,
      created_at: expect.stringMatching(/^\d{4}-.*Z$/),
      expires_at: expect.stringMatching(/^\d{4}-.*Z$/),
      url,
    })
    expect(second).toMatchObject({ id: chunked, door: 'legacy', filename: 'b.aac', offset: 3, length: null })
    const expires = (await tus.head(url)).headers.get('upload-expires') ?? ''
    expect(Math.abs(Date.parse(first?.expires_at as string) - Date.parse(expires))).toBeLessThan(1_000)
    // What it tells is enough to go on.
    expect((await tus.patch(first?.url as string, 4, noise(6))).status).toBe(204)
    expect((await listed(lead)).map(({ id }) => id)).toEqual([chunked])
    await cleanUp(lead)
    expect(await listed(lead)).toEqual([])
  })

  test('is of the caller alone; the CRM sees all, a supervisor has none', async () => {
    const lead = await harness.lead()
    await tus.begin(lead, 10)
    await tusClient(tokens.crm).begin(lead, 10)
    expect(await listed(lead)).toHaveLength(1)
    expect(await listed(lead, tokens.crm)).toHaveLength(2)
    expect(await listed(lead, tokens.supervisor)).toEqual([])
    await cleanUp(lead)
  })

  test.for([
    ['without a token', null, 401],
    ['of another telecaller’s lead', tokens.other, 403],
  ] as const)('%s is refused in JSON', async ([, token, status]) => {
    const lead = await harness.lead()
    const res = await harness.api('GET', lead.uploads, { token })
    expect(res.status).toBe(status)
    expect(res.headers.get('content-type')).toContain('application/problem+json')
  })

  test('of an unknown lead is 404', async () => {
    expect((await harness.api('GET', '/api/leads/nobody/uploads')).status).toBe(404)
  })

  test('needs no Tus-Resumable and minds none; HEAD answers as GET, and other methods are told so', async () => {
    const lead = await harness.lead()
    const headers = { 'tus-resumable': '1.0.0', origin: 'https://crm.example' }
    const res = await harness.api('GET', lead.uploads, { headers })
    expect(res.status).toBe(200)
    expect(res.headers.get('access-control-allow-origin')).toBe('*')
    expect((await harness.api('HEAD', lead.uploads)).status).toBe(200)
    const put = await harness.api('PUT', lead.uploads, { headers })
    expect([put.status, put.headers.get('allow')]).toEqual([405, 'GET, HEAD, POST, OPTIONS'])
    const options = await fetch(lead.uploads, { method: 'OPTIONS' })
    expect(options.headers.get('tus-version')).toBe('1.0.0')
  })
})

describe('an upload that never got a byte', () => {
  test('expires after an hour; one that got a byte, or a chunk out of turn, does not', async () => {
    const lead = await harness.lead()
    const never = await tus.begin(lead, 10)
    const begun = await tus.begin(lead, 10)
    await tus.patch(begun, 0, noise(1))
    const empty = await legacy.begin(lead)
    const early = await legacy.begin(lead)
    await legacy.append(lead, early, 3, base64('0123'))
    const expires = Date.parse((await tus.head(never)).headers.get('upload-expires') ?? '')
    expect(Math.abs(expires - clock.now() - HOUR_MS)).toBeLessThan(60_000)
    clock.advance(HOUR_MS + 60_000)
    // Whether or not the sweep has come by.
    expect((await tus.head(never)).status).toBe(410)
    expect((await listed(lead)).map(({ id }) => id).sort()).toEqual([begun.split('/').at(-1), early].sort())
    await harness.service.sweep.run()
    expect((await tus.head(never)).status).toBe(410)
    expect((await legacy.append(lead, empty, 0, base64('0'))).status).toBe(410)
    expect((await tus.patch(begun, 1, noise(9))).status).toBe(204)
    await cleanUp(lead)
  })

  test('is the first to give way at the limit, the oldest first, and a form gets in too', async () => {
    const lead = await harness.lead()
    const begun = await tus.begin(lead, 10)
    await tus.patch(begun, 0, noise(1))
    const idle: string[] = []
    for (let i = 0; i < 7; i++) {
      clock.advance(10)
      idle.push(await tus.begin(lead, 10))
    }
    clock.advance(BYTES_FOLLOW_WITHIN_MS)
    const next = await tus.begin(lead, 10)
    expect((await tus.head(idle[0] as string)).status).toBe(410)
    expect((await tus.head(idle[1] as string)).status).toBe(200)
    expect((await form(lead)).status).toBe(200)
    expect((await tus.head(idle[1] as string)).status).toBe(410)
    expect((await tus.head(begun)).status).toBe(200)
    expect((await tus.head(next)).status).toBe(200)
    await cleanUp(lead)
  })

  test('gives way to as many as begin at once, and never beyond the limit', async () => {
    const lead = await harness.lead()
    for (let i = 0; i < 8; i++) await tus.begin(lead, 10)
    clock.advance(BYTES_FOLLOW_WITHIN_MS)
    const urls = await Promise.all(Array.from({ length: 8 }, () => tus.begin(lead, 10)))
    const open = await listed(lead)
    expect(open.map(({ url }) => url).sort()).toEqual([...urls].sort())
    await cleanUp(lead)
  })

  test('is given up by nobody while its first bytes are coming', async () => {
    const lead = await harness.lead()
    const coming = await tus.begin(lead, 10)
    const connection = await connectTo(harness.url, {
      Authorization: `Bearer ${tokens.telecaller}`,
      'Tus-Resumable': '1.0.0',
    })
    const head = { 'Upload-Offset': '0', 'Content-Length': '10', Expect: '100-continue' }
    connection.head('PATCH', coming, { ...head, 'Content-Type': 'application/offset+octet-stream' })
    expect((await connection.answer()).status).toBe(100)
    for (let i = 0; i < 12; i++) {
      clock.advance(BYTES_FOLLOW_WITHIN_MS)
      await tus.begin(lead, 10)
    }
    connection.send(noise(10))
    expect((await connection.answer()).status).toBe(204)
    connection.destroy()
    await cleanUp(lead)
  })

  test('does not give way where all have got bytes: 503 with Retry-After', async () => {
    const lead = await harness.lead()
    for (let i = 0; i < 8; i++) await tus.patch(await tus.begin(lead, 10), 0, noise(1))
    const res = await tus.create(lead.uploads, {
      'upload-length': '10',
      'upload-metadata': metadata({ filename: 'a.wav', call_log_id: lead.callLogId }),
    })
    expect([res.status, res.headers.get('retry-after')]).toEqual([503, '30'])
    expect((await form(lead)).status).toBe(503)
    await cleanUp(lead)
  })
})

import { describe, expect, test } from 'vitest'
import { connectTo } from './support/raw.ts'
import { startService } from './support/service.ts'
import { metadata, noise, OFFSET_TYPE, stagedBytes, tusClient } from './support/tus.ts'

const harness = await startService()
const tus = tusClient(harness.tokens.telecaller)
const common = { 'Tus-Resumable': '1.0.0', Authorization: `Bearer ${harness.tokens.telecaller}` }
const connect = () => connectTo(harness.url, common)
const patching = (offset: number, length: number) => ({
  'Upload-Offset': String(offset),
  'Content-Type': OFFSET_TYPE,
  'Content-Length': String(length),
})
const chunkedAt = (offset: number) => ({
  'Upload-Offset': String(offset),
  'Content-Type': OFFSET_TYPE,
  'Transfer-Encoding': 'chunked',
})
const MIB = 1024 * 1024

describe('an answer that comes before the body has', () => {
  test.for([
    ['409 at a wrong offset', (url: string) => url, patching(5, 8 * MIB), 409],
    ['413 for more than is missing', (url: string) => url, patching(0, 11 * MIB), 413],
    ['404 for an unknown upload', (url: string) => `${url}x`, patching(0, 8 * MIB), 404],
    ['401 without a token', (url: string) => url, { ...patching(0, 8 * MIB), Authorization: 'Bearer no' }, 401],
    ['412 for another version', (url: string) => url, { ...patching(0, 8 * MIB), 'Tus-Resumable': '0.2' }, 412],
    ['415 for another type', (url: string) => url, { ...patching(0, 8 * MIB), 'Content-Type': 'audio/wav' }, 415],
  ] as const)(
    '%s is read by a client that sends all of it first, on a connection that goes on',
    async ([, at, headers, status]) => {
      const url = await tus.begin(await harness.lead(), 10 * MIB)
      const connection = await connect()
      connection.head('PATCH', at(url), headers)
      connection.send(noise(Number(headers['Content-Length'])))
      const answer = await connection.answer()
      expect(answer.status).toBe(status)
      expect(answer.headers.get('tus-resumable')).toBe('1.0.0')
      if (status === 409) expect(answer.headers.get('upload-offset')).toBe('0')

      connection.head('HEAD', url)
      expect((await connection.answer()).headers.get('upload-offset')).toBe('0')
      connection.destroy()
    },
  )

  test.for([
    ['of 900 MiB', patching(0, 900 * MIB), 413, 'close'],
    ['without end', chunkedAt(1), 409, 'keep-alive'],
  ] as const)(
    'is read before a body %s, which is not waited for: the connection ends',
    async ([, headers, status, then]) => {
      const url = await tus.begin(await harness.lead(), 100)
      const connection = await connect()
      connection.head('PATCH', url, headers)
      const piece = noise(MIB)
      const sendPiece = () => (status === 409 ? connection.chunk(piece) : connection.send(piece))
      sendPiece()
      const answer = await connection.answer()
      expect([answer.status, answer.headers.get('connection')]).toEqual([status, then])
      let open = true
      void connection.closed.then(() => {
        open = false
      })
      for (let sent = 0; open && sent < 900; sent++) {
        sendPiece()
        await new Promise(setImmediate)
      }
      await connection.closed
    },
  )

  test('is a 423 for a connection whose upload was taken over; what it sent is kept', async () => {
    const url = await tus.begin(await harness.lead(), 1_000)
    const bytes = noise(1_000)
    const connection = await connect()
    connection.head('PATCH', url, patching(0, 1_000))
    connection.send(bytes.subarray(0, 400))
    await expect.poll(() => stagedBytes(harness, url), { timeout: 5_000 }).toBe(400)
    expect((await tus.head(url)).headers.get('upload-offset')).toBe('400')
    const answer = await connection.answer()
    expect(answer.status).toBe(423)
    expect(answer.headers.get('connection')).toBe('close')
    connection.send(bytes.subarray(400))
    await connection.closed
    const last = await tus.patch(url, 400, bytes.subarray(400))
    expect(last.status).toBe(204)
    expect(last.headers.get('recording-id')).not.toBeNull()
  })
})

describe('Expect: 100-continue (RFC 9110 §10.1.1)', () => {
  const creating = (callLogId: string, filename: string) => ({
    Expect: '100-continue',
    'Upload-Length': '10',
    'Upload-Metadata': metadata({ filename, call_log_id: callLogId }),
    'Content-Type': OFFSET_TYPE,
    'Content-Length': '10',
  })

  test('the body is asked for once the upload is accepted', async () => {
    const lead = await harness.lead()
    const connection = await connect()
    connection.head('POST', lead.uploads, creating(lead.callLogId, 'call.wav'))
    expect((await connection.answer()).status).toBe(100)
    connection.send(noise(10))
    const answer = await connection.answer()
    expect(answer.status).toBe(201)
    expect(answer.headers.get('upload-offset')).toBe('10')
    connection.destroy()
  })

  describe('a success that needs no body comes behind a 100 all the same: Java takes it for a refusal else', () => {
    const expecting = { Expect: '100-continue' }
    const finished = async () => {
      const lead = await harness.lead()
      const url = await tus.begin(lead, 10)
      const done = await tus.patch(url, 0, noise(10))
      return { lead, url, recording: done.headers.get('content-location') as string }
    }
    const keyed = (lead: { callLogId: string }) => ({
      ...creating(lead.callLogId, 'call.wav'),
      'Idempotency-Key': `"${lead.callLogId}"`,
    })
    type Way = [
      string,
      string,
      (of: Awaited<ReturnType<typeof finished>>) => Promise<string>,
      Record<string, string>,
      number,
    ]
    const ways: Way[] = [
      ['PATCH of a finished upload', 'PATCH', async ({ url }) => url, patching(10, 0), 204],
      ['chunked PATCH of a finished upload', 'PATCH', async ({ url }) => url, chunkedAt(10), 204],
      ['empty PATCH', 'PATCH', async ({ lead }) => tus.begin(lead, 10), patching(0, 0), 204],
      ['DELETE', 'DELETE', async ({ lead }) => tus.begin(lead, 10), {}, 204],
      ['HEAD', 'HEAD', async ({ url }) => url, {}, 200],
      ['OPTIONS', 'OPTIONS', async ({ lead }) => lead.uploads, {}, 204],
      ['playback', 'GET', async ({ recording }) => recording, {}, 200],
    ]
    test.for(ways)('%s', async ([, method, at, headers, status]) => {
      const url = await at(await finished())
      const connection = await connect()
      connection.head(method, url, { ...expecting, ...headers })
      expect((await connection.answer()).status).toBe(100)
      if (headers['Transfer-Encoding']) connection.lastChunk()
      expect((await connection.answer()).status).toBe(status)
      connection.destroy()
    })

    test('a creation that is there already', async () => {
      const { lead } = await finished()
      const bytes = noise(10)
      for (const _ of ['made', 'there']) {
        const connection = await connect()
        connection.head('POST', lead.uploads, keyed(lead))
        expect((await connection.answer()).status).toBe(100)
        connection.send(bytes)
        const answer = await connection.answer()
        expect([answer.status, answer.headers.get('upload-offset')]).toEqual([201, '10'])
        connection.destroy()
      }
    })

    test('once, and no second time, where the body is asked for', async () => {
      const { lead, recording } = await finished()
      const connection = await connect()
      const body = JSON.stringify({ action: 'init', filename: 'call.aac', call_log_id: lead.callLogId })
      const json = { ...expecting, 'Content-Type': 'application/json' }
      connection.head('POST', lead.recordings, { ...json, 'Content-Length': String(body.length) })
      expect((await connection.answer()).status).toBe(100)
      connection.send(body)
      expect((await connection.answer()).status).toBe(201)
      connection.head('POST', `${recording}/playback-links`, { ...json, 'Content-Length': '2' })
      expect((await connection.answer()).status).toBe(100)
      connection.send('{}')
      expect((await connection.answer()).status).toBe(201)
      connection.destroy()
    })

    test('not for a refusal', async () => {
      const { url, lead } = await finished()
      for (const [method, target, headers, status] of [
        ['PATCH', url, patching(5, 5), 409],
        ['PATCH', `${lead.uploads}/unknown`, patching(0, 5), 404],
        ['POST', lead.recordings, { 'Content-Type': 'text/plain', 'Content-Length': '5' }, 415],
      ] as const) {
        const connection = await connect()
        connection.head(method, target, { ...expecting, ...headers })
        expect((await connection.answer()).status).toBe(status)
        connection.destroy()
      }
    })
  })

  test('a refused creation is told so before a byte is sent', async () => {
    const lead = await harness.lead()
    const connection = await connect()
    connection.head('POST', lead.uploads, creating(lead.callLogId, 'call.exe'))
    const answer = await connection.answer()
    expect(answer.status).toBe(415)
    expect(answer.headers.get('connection')).toBe('close')
    connection.destroy()
  })

  test('other routes ask for theirs', async () => {
    const connection = await connect()
    connection.head('PUT', `${harness.url}/api/leads/lead-100`, {
      Expect: '100-continue',
      Authorization: `Bearer ${harness.tokens.crm}`,
      'Content-Type': 'application/json',
      'Content-Length': '20',
    })
    expect((await connection.answer()).status).toBe(100)
    connection.send('{"telecaller_id":"t"}'.padEnd(20).slice(0, 20))
    expect((await connection.answer()).status).toBeGreaterThanOrEqual(200)
    connection.destroy()
  })
})

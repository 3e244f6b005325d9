import { once } from 'node:events'
import { stat } from 'node:fs/promises'
import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http'
import { expect, test } from 'vitest'
import { isPostgres } from '../support/home.ts'
import { startProcess } from '../support/process.ts'
import { noise, OFFSET_TYPE, tusClient } from '../support/tus.ts'

/** A PATCH whose body the test feeds by hand. */
function slowPatch(url: string, token: string, offset: number, length: number) {
  const request: ClientRequest = httpRequest(url, {
    method: 'PATCH',
    headers: {
      authorization: `Bearer ${token}`,
      'tus-resumable': '1.0.0',
      'upload-offset': offset,
      'content-type': OFFSET_TYPE,
      'content-length': length,
    },
  })
  const answered = once(request, 'response').then(([response]) => response as IncomingMessage)
  answered.catch(() => {})
  request.on('error', () => {})
  request.flushHeaders()
  return { request, answered }
}

const stored = async (server: { files(folder: 'uploads'): Promise<string[]>; dir: string }, bytes: number) => {
  await expect
    .poll(async () => {
      const [file] = await server.files('uploads')
      return file === undefined ? 0 : (await stat(`${server.dir}/uploads/${file}`)).size
    })
    .toBe(bytes)
}

test('SIGTERM: a body in flight is stored as far as it came and answered 503, and the next server goes on there', async () => {
  const server = await startProcess()
  const tus = tusClient(server.tokens.telecaller)
  const bytes = noise(500_000)
  const upload = await tus.begin(await server.lead(), bytes.length)
  const { request, answered } = slowPatch(upload, server.tokens.telecaller, 0, bytes.length)
  request.write(bytes.subarray(0, 123_456))
  await stored(server, 123_456)

  const startedAtMs = performance.now()
  const ended = server.kill('SIGTERM')
  const response = await answered
  expect(response.statusCode).toBe(503)
  expect(response.headers['retry-after']).toBeDefined()
  expect(response.headers.connection).toBe('close')
  response.resume()
  expect(await ended).toEqual({ code: 0, signal: null })
  expect(performance.now() - startedAtMs).toBeLessThan(10_000)

  await server.restart()
  expect((await tus.head(upload)).headers.get('upload-offset')).toBe('123456')
  const last = await tus.patch(upload, 123_456, bytes.subarray(123_456))
  expect(last.headers.get('recording-id')).not.toBeNull()
})

test('SIGTERM: while something still runs, /readyz says 503, nothing begins, and what is heard plays on', async () => {
  const server = await startProcess({ env: { RECORDINGS_SHUTDOWN_GRACE: '8s' } })
  const tus = tusClient(server.tokens.telecaller)
  const lead = await server.lead()
  const bytes = noise(40 * 2 ** 20)
  const upload = await tus.begin(lead, bytes.length)
  const done = await tus.patch(upload, 0, bytes)
  const playing = httpRequest(done.headers.get('content-location') as string, {
    headers: { authorization: `Bearer ${server.tokens.telecaller}` },
  })
  playing.end()
  const [heard] = (await once(playing, 'response')) as [IncomingMessage]
  heard.pause()

  const ended = server.kill('SIGTERM')
  await server.line((line) => line.msg === 'stopping')
  const ready = await fetch(`${server.url}/readyz`)
  expect(ready.status).toBe(503)
  expect(ready.headers.get('connection')).toBe('close')
  expect((await fetch(`${server.url}/livez`)).status).toBe(200)
  const refused = await tus.create(lead.uploads, {
    'upload-length': '5',
    'upload-metadata': `filename ${btoa('call.wav')},call_log_id ${btoa(lead.callLogId)}`,
  })
  expect(refused.status).toBe(503)
  expect(await refused.text()).toContain('shutting_down')

  let received = 0
  heard.on('data', (data: Buffer) => {
    received += data.length
  })
  heard.resume()
  await once(heard, 'end')
  expect(received).toBe(bytes.length)
  expect(await ended).toEqual({ code: 0, signal: null })
})

test.skipIf(isPostgres)('SIGTERM: the write-ahead log is emptied', async () => {
  const server = await startProcess()
  await server.lead()
  expect((await stat(`${server.dir}/recordings.db-wal`)).size).toBeGreaterThan(0)
  expect(await server.kill('SIGTERM')).toEqual({ code: 0, signal: null })
  const left = await stat(`${server.dir}/recordings.db-wal`).catch(() => undefined)
  expect(left?.size ?? 0).toBe(0)
})

test('SIGTERM: a listener that never reads is cut off at the end of the grace; the exit is 0', async () => {
  const server = await startProcess({ env: { RECORDINGS_SHUTDOWN_GRACE: '2s' } })
  const tus = tusClient(server.tokens.telecaller)
  const bytes = noise(40 * 2 ** 20)
  const done = await tus.patch(await tus.begin(await server.lead(), bytes.length), 0, bytes)
  const playing = httpRequest(done.headers.get('content-location') as string, {
    headers: { authorization: `Bearer ${server.tokens.telecaller}` },
  })
  playing.on('error', () => {})
  playing.end()
  const [heard] = (await once(playing, 'response')) as [IncomingMessage]
  heard.pause()
  heard.on('error', () => {})
  const startedAtMs = performance.now()
  expect(await server.kill('SIGTERM')).toEqual({ code: 0, signal: null })
  expect(performance.now() - startedAtMs).toBeLessThan(4_000)
})

test('a second signal ends it at once, and nothing acknowledged is lost', async () => {
  const server = await startProcess()
  const tus = tusClient(server.tokens.telecaller)
  const bytes = noise(40 * 2 ** 20)
  const lead = await server.lead()
  const done = await tus.patch(await tus.begin(lead, bytes.length), 0, bytes)
  const other = await tus.begin(lead, 1_000)
  await tus.patch(other, 0, bytes.subarray(0, 400))
  const playing = httpRequest(done.headers.get('content-location') as string, {
    headers: { authorization: `Bearer ${server.tokens.telecaller}` },
  })
  playing.on('error', () => {})
  playing.end()
  const [heard] = (await once(playing, 'response')) as [IncomingMessage]
  heard.pause()
  heard.on('error', () => {})

  const ended = server.kill('SIGTERM')
  await server.line((line) => line.msg === 'stopping')
  const startedAtMs = performance.now()
  await server.kill('SIGTERM')
  expect((await ended).code).toBe(1)
  expect(performance.now() - startedAtMs).toBeLessThan(1_000)
  await server.restart()
  expect((await tus.head(other)).headers.get('upload-offset')).toBe('400')
})

test('a body that no door takes in pieces is answered 503 too', async () => {
  const server = await startProcess()
  const lead = await server.lead()
  const request = httpRequest(`${server.url}/api/leads/${lead.leadId}/call-logs/x`, {
    method: 'PUT',
    headers: {
      authorization: `Bearer ${server.tokens.crm}`,
      'content-type': 'application/json',
      'content-length': 1_000,
      expect: '100-continue',
    },
  })
  request.on('error', () => {})
  const wanted = once(request, 'continue')
  request.flushHeaders()
  await wanted
  request.write('{"direction":')
  const answered = once(request, 'response') as Promise<[IncomingMessage]>
  const ended = server.kill('SIGTERM')
  expect((await answered)[0].statusCode).toBe(503)
  expect(await ended).toEqual({ code: 0, signal: null })
})

test.skipIf(isPostgres)(
  'a second server on the same data directory waits for the first to end, or says why it does not start',
  async () => {
    const first = await startProcess()
    await expect(startProcess({ dir: first.dir })).rejects.toThrow(/another server uses this data directory/)

    const second = startProcess({ dir: first.dir })
    await first.kill('SIGKILL')
    expect((await fetch(`${(await second).url}/readyz`)).status).toBe(200)
  },
)

test('/readyz asked by many at once is 200 for all, and leaves nothing behind', async () => {
  const server = await startProcess()
  const answers = await Promise.all(Array.from({ length: 40 }, () => fetch(`${server.url}/readyz`)))
  expect(answers.map((res) => res.status)).toEqual(answers.map(() => 200))
  expect([...(await server.files('uploads')), ...(await server.files('recordings'))]).toEqual([])
})

test('SIGTERM: it ends also when nobody reads its log any more', async () => {
  for (let i = 0; i < 3; i++) {
    const server = await startProcess()
    server.closeLog()
    const startedAtMs = performance.now()
    expect(await server.kill('SIGTERM')).toEqual({ code: 0, signal: null })
    expect(performance.now() - startedAtMs).toBeLessThan(5_000)
  }
})

/** Requests of every kind that are under way when a server is told to end, and what becomes of them. */
import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { connect } from 'node:net'
import { expect } from 'vitest'
import { connectTo, type RawConnection } from './raw.ts'
import type { Started } from './starts.ts'
import { metadata, noise, OFFSET_TYPE, stagedBytes, tusClient } from './tus.ts'

const BOUNDARY = 'x-boundary'
const part = (head: string, body: string) =>
  `--${BOUNDARY}\r\nContent-Disposition: form-data; name=${head}\r\n\r\n${body}`

interface InFlight {
  kind: string
  connection: RawConnection
}

/** A request of each kind, begun and not ended. */
async function begun(server: Started) {
  const { tokens } = server
  const tus = tusClient(tokens.telecaller)
  const lead = await server.lead()
  const upload = await tus.begin(lead, 1_000)
  const made = await tus.patch(await tus.begin(lead, 30 * 2 ** 20), 0, noise(30 * 2 ** 20))
  const initialised = await server.api('POST', lead.recordings, {
    body: { action: 'init', filename: 'a.wav', call_log_id: lead.callLogId },
  })
  const { upload_id } = (await initialised.json()) as { upload_id: string }

  const open: InFlight[] = []
  async function begin(
    kind: string,
    [method, url]: [string, string],
    headers: Record<string, string>,
    body: string | Buffer,
    token = tokens.telecaller,
  ) {
    const connection = await connectTo(server.url, { authorization: `Bearer ${token}` })
    connection.head(method, url, { 'content-length': '100000', ...headers })
    connection.send(body)
    open.push({ kind, connection })
  }
  const tusHeaders = { 'tus-resumable': '1.0.0', 'content-type': OFFSET_TYPE }
  const post: [string, string] = ['POST', lead.recordings]
  const form = { 'content-type': `multipart/form-data; boundary=${BOUNDARY}` }
  const file = `"file"; filename="a.wav"`
  await begin(
    'tus PATCH',
    ['PATCH', upload],
    { ...tusHeaders, 'upload-offset': '0', 'content-length': '1000' },
    noise(400),
  )
  await begin(
    'tus creation',
    ['POST', lead.uploads],
    {
      ...tusHeaders,
      'upload-length': '100000',
      'upload-metadata': metadata({ filename: 'b.wav', call_log_id: lead.callLogId }),
    },
    noise(400),
  )
  await begin('JSON chunk', post, { 'content-type': 'application/json' }, '{"action":"append","chunk":"AAAA')
  await begin(
    'finalize',
    post,
    { 'content-type': 'application/json' },
    `{"action":"finalize","upload_id":"${upload_id}"`,
  )
  await begin(
    'urlencoded chunk',
    post,
    { 'content-type': 'application/x-www-form-urlencoded' },
    'action=append&chunk=A',
  )
  await begin('multipart chunk', post, form, part('"action"', `append\r\n${part('"chunk"', 'AAAA')}`))
  await begin('form, in its file', post, form, part(file, 'RIFF'))
  await begin('form, after its file', post, form, part(file, `RIFF\r\n${part('"call_log_id"', lead.callLogId)}`))
  await begin(
    'PUT',
    ['PUT', `${server.url}/api/leads/${lead.leadId}/call-logs/y`],
    { 'content-type': 'application/json' },
    '{"dir',
    tokens.crm,
  )

  const { hostname, port } = new URL(server.url)
  const halfHead = connect(Number(port), hostname)
  halfHead.on('error', () => {}).write('GET /api/leads/x HTTP/1.1\r\nHost: x\r\n')
  const idle = connect(Number(port), hostname)
  idle.on('error', () => {}).write('GET /livez HTTP/1.1\r\nHost: x\r\n\r\n')
  await once(idle, 'data')
  const playing = httpRequest(made.headers.get('content-location') as string, {
    headers: { authorization: `Bearer ${tokens.telecaller}` },
  })
  playing.on('error', () => {})
  playing.end()
  const [heard] = (await once(playing, 'response')) as [IncomingMessage]
  heard.pause()
  await expect.poll(() => stagedBytes(server, upload), { timeout: 20_000 }).toBe(400)
  return { open, heard }
}

/** Each is answered 503, a listener hears the end, the server ends with 0 and its log says so. */
export async function expectOrderlyEnd(server: Started, signal: NodeJS.Signals): Promise<void> {
  const { open, heard } = await begun(server)
  const answers = Promise.all(
    open.map(async ({ kind, connection }) => {
      const { status, headers, text } = await connection.answer()
      return { kind, status, retryAfter: headers.get('retry-after'), text }
    }),
  )
  server.signal(signal)
  for (const { kind, status, retryAfter, text } of await answers) {
    expect({ kind, status, retryAfter }).toEqual({ kind, status: 503, retryAfter: '2' })
    expect(text, kind).toContain('shutting_down')
    expect(text, kind).not.toContain('kept')
  }
  let received = 0
  heard.on('data', (piece: Buffer) => {
    received += piece.length
  })
  heard.resume()
  await once(heard, 'end')
  expect(received).toBe(30 * 2 ** 20)
  expect(await server.exited).toMatchObject({ code: 0 })
  await server.gone()
  const log = await server.log()
  expect(log.filter(({ level }) => ['error', 'fatal'].includes(level))).toEqual([])
  expect(log.map(({ msg }) => msg)).toContain('stopping')
  expect(log.at(-1)).toMatchObject({ level: 'info', msg: 'stopped' })
}

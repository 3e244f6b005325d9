/** A client that ends its half of the connection with its request (TCP FIN), as `nc -N` and some old libraries do. */
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { describe, expect, test } from 'vitest'
import { isPostgres } from './support/home.ts'
import { offsets, record } from './support/recordings.ts'
import { startService } from './support/service.ts'
import { metadata, noise, OFFSET_TYPE, stagedBytes, tusClient } from './support/tus.ts'

const service = await startService()
const { telecaller } = service.tokens
const tus = tusClient(telecaller)
const BYTES = offsets(3_000_000)

/** Sends it all, ends, and gives what comes until the server has ended too. */
async function exchange(...pieces: (string | Buffer)[]): Promise<string> {
  const { port, hostname } = new URL(service.url)
  const socket = connect({ port: Number(port), host: hostname, allowHalfOpen: true })
  const got: Buffer[] = []
  socket.on('data', (bytes) => got.push(bytes))
  await once(socket, 'connect')
  for (const piece of pieces) socket.write(piece)
  socket.end()
  await once(socket, 'end')
  socket.destroy()
  return Buffer.concat(got).toString('latin1')
}

const head = (method: string, url: string, headers: Record<string, string> = {}) => {
  const { pathname, host } = new URL(url, service.url)
  const lines = { Host: host, Authorization: `Bearer ${telecaller}`, ...headers }
  const text = Object.entries(lines).map(([name, value]) => `${name}: ${value}\r\n`)
  return `${method} ${pathname} HTTP/1.1\r\n${text.join('')}\r\n`
}
const status = (text: string) => Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1])

describe('gets its answer', () => {
  test('when it asks for a list, and when it asks for bytes', async () => {
    const recording = await record(service, BYTES)
    const list = await exchange(head('GET', recording.url.replace(/\/[^/]+$/, '')))
    expect(list).toContain(recording.id)
    const played = await exchange(head('GET', recording.url))
    expect(status(played)).toBe(200)
    expect(played.slice(played.indexOf('\r\n\r\n') + 4)).toHaveLength(BYTES.length)
  })

  test('when it sends an upload by every door', async () => {
    const lead = await service.lead()
    const created = await exchange(
      head('POST', lead.uploads, {
        'Tus-Resumable': '1.0.0',
        'Upload-Length': '100000',
        'Upload-Metadata': metadata({ filename: 'a.wav', call_log_id: lead.callLogId }),
        'Content-Type': OFFSET_TYPE,
        'Content-Length': '100000',
      }),
      noise(100_000),
    )
    expect(created).toMatch(/^HTTP\/1\.1 201 .*\r\nrecording-id: /is)
    const init = JSON.stringify({ action: 'init', filename: 'a.wav', call_log_id: lead.callLogId })
    const json = { 'Content-Type': 'application/json', 'Content-Length': String(init.length) }
    expect(status(await exchange(head('POST', lead.recordings, json), init))).toBe(201)
    const form = `--b\r\nContent-Disposition: form-data; name="call_log_id"\r\n\r\n${lead.callLogId}\r\n--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nbytes\r\n--b--\r\n`
    const multipart = { 'Content-Type': 'multipart/form-data; boundary=b', 'Content-Length': String(form.length) }
    expect(status(await exchange(head('POST', lead.recordings, multipart), form))).toBe(200)
  })

  test('to each of several requests sent at once', async () => {
    const { leadId } = await service.lead()
    const one = head('GET', `/api/leads/${leadId}/recordings`)
    const got = await exchange(one + one + head('GET', '/livez'))
    expect(got.match(/HTTP\/1\.1 200 /g)).toHaveLength(3)
  })

  test('and when it is refused', async () => {
    expect(status(await exchange(head('GET', '/api/nothing')))).toBe(404)
    expect(status(await exchange(head('GET', '/api/nothing', { Authorization: 'Bearer x' })))).toBe(401)
  })
})

describe('is taken for gone', () => {
  // PostgreSQL's answers come later than this client goes: of a request that is gone before it could begin nothing is kept.
  test.skipIf(isPostgres)(
    'when its body was cut short: what came is kept, and the next request has the upload at once',
    async () => {
      const lead = await service.lead()
      const url = await tus.begin(lead, 1_000)
      const patch = head('PATCH', url, {
        'Tus-Resumable': '1.0.0',
        'Upload-Offset': '0',
        'Content-Type': OFFSET_TYPE,
        'Content-Length': '1000',
      })
      await exchange(patch, noise(400))
      expect((await tus.head(url)).headers.get('upload-offset')).toBe('400')
      expect(stagedBytes(service, url)).toBe(400)
      expect((await tus.patch(url, 400, noise(600))).headers.get('recording-id')).not.toBeNull()
    },
  )

  test('when it asks for nothing more: an idle connection ends at once', async () => {
    expect(await exchange('')).toBe('')
    const answered = await exchange(head('GET', '/livez'))
    expect(status(answered)).toBe(200)
  })

  test('when it has closed altogether while it listens: the file is let go and the connection ends', async () => {
    const recording = await record(service, offsets(30_000_000))
    const { port, hostname } = new URL(service.url)
    const socket = connect({ port: Number(port), host: hostname, allowHalfOpen: true })
    await once(socket, 'connect')
    socket.write(head('GET', recording.url))
    socket.end()
    await once(socket, 'readable')
    const closed = new Promise<void>((resolve) => {
      const look = async () => ((await connections()) === 0 ? resolve() : void setTimeout(look, 20))
      socket.once('close', look)
    })
    socket.destroy()
    await closed
  })
})

/** How many connections the server still has whose client has none. */
async function connections(): Promise<number> {
  const hex = Number(new URL(service.url).port).toString(16).toUpperCase().padStart(4, '0')
  const table = await readFile('/proc/net/tcp', 'utf8')
  // 08 is CLOSE_WAIT: the client's end has come, and ours is not closed.
  return table.split('\n').filter((line) => new RegExp(`: 0100007F:${hex} \\w+:\\w+ (08) `).test(line)).length
}

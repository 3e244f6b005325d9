/** Answers that nobody takes: what they hold of memory, and how they end. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { describe, expect, test } from 'vitest'
import { MAX_PER_ADDRESS } from '../../src/http/connections.ts'
import { ask } from '../support/http.ts'
import { type LogLine, type ServerProcess, startProcess } from '../support/process.ts'
import { connectTo } from '../support/raw.ts'
import { offsets, record } from '../support/recordings.ts'
import { startService } from '../support/service.ts'

const MiB = 2 ** 20
const BYTES = offsets(8 * MiB)

/** A connection that sends and never reads. */
async function deaf(url: string, text: string): Promise<Socket> {
  const { hostname, port } = new URL(url)
  const socket = connect({ host: hostname, port: Number(port) })
  socket.on('error', () => {})
  socket.pause()
  await once(socket, 'connect')
  socket.write(text)
  return socket
}

const get = (url: string, token: string) => {
  const { pathname, host } = new URL(url)
  return `GET ${pathname} HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer ${token}\r\n\r\n`
}

async function until(reached: () => Promise<boolean> | boolean, what: string, seconds = 20): Promise<void> {
  for (const end = Date.now() + seconds * 1000; !(await reached()); ) {
    if (Date.now() > end) throw new Error(`not within ${seconds} s: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

/** The memory of the server as it is at rest. */
async function rested(server: ServerProcess, url: string): Promise<number> {
  for (let i = 0; i < 20; i++) await ask(url, 'GET', { authorization: `Bearer ${server.tokens.telecaller}` })
  return (await server.memory()).rssBytes
}

const isBroken = ({ event }: LogLine) => event === 'answerNotTaken'

test('requests sent ahead on ten connections hold one answer each, and memory comes back when they end', {
  timeout: 60_000,
}, async () => {
  const server = await startProcess({ env: { RECORDINGS_IDLE_TIMEOUT: '3s' } })
  const { url } = await record(server, BYTES)
  const before = await rested(server, url)
  const ahead = get(url, server.tokens.telecaller).repeat(180)
  await Promise.all(Array.from({ length: 10 }, () => deaf(server.url, ahead)))
  await until(() => server.lines.filter(isBroken).length >= 10, 'all were ended')
  const { peakBytes } = await server.memory()
  expect(peakBytes - before).toBeLessThan(60 * MiB)
  await until(async () => (await server.memory()).rssBytes < before * 1.3, 'memory is as it was, or nearly')
})

test('a thousand listeners that never read hold little, are ended after the idle timeout, and memory comes back', {
  timeout: 60_000,
}, async () => {
  const server = await startProcess({ env: { RECORDINGS_IDLE_TIMEOUT: '5s' } })
  const { url } = await record(server, BYTES)
  const before = await rested(server, url)
  const one = get(url, server.tokens.telecaller)
  const sockets = await Promise.all(Array.from({ length: 1_000 }, () => deaf(server.url, one)))
  const res = await ask(url, 'GET', { authorization: `Bearer ${server.tokens.telecaller}` })
  expect(res.body.equals(BYTES)).toBe(true)
  await until(() => server.lines.filter(isBroken).length >= 1_000, 'all were ended', 40)
  const { peakBytes } = await server.memory()
  for (const socket of sockets) socket.destroy()
  expect(peakBytes - before).toBeLessThan(150 * MiB)
  await until(async () => (await server.memory()).rssBytes < before * 1.3, 'memory is as it was, or nearly')
})

describe('requests sent ahead on one connection', async () => {
  const harness = await startService()
  const { url } = await record(harness, BYTES.subarray(0, 100_000))
  const { pathname } = new URL(url)

  test('are all answered, in their order', async () => {
    const connection = await connectTo(harness.url, { Authorization: `Bearer ${harness.tokens.telecaller}` })
    const starts = Array.from({ length: 300 }, (_, i) => i * 8)
    const head = `Host: h\r\nAuthorization: Bearer ${harness.tokens.telecaller}\r\n`
    connection.send(
      starts.map((at) => `GET ${pathname} HTTP/1.1\r\n${head}Range: bytes=${at}-${at + 7}\r\n\r\n`).join(''),
    )
    for (const at of starts) expect((await connection.answer()).text).toBe(String(at).padStart(8, '0'))
    // And the connection goes on.
    connection.head('GET', url, { Range: 'bytes=8-15' })
    expect((await connection.answer()).text).toBe('00000008')
    connection.destroy()
  })

  test('are begun one after the other', async () => {
    const begun: number[] = []
    let running = 0
    let most = 0
    const { library } = harness.service
    const acquire = library.acquire.bind(library)
    library.acquire = async (...asked) => {
      most = Math.max(most, ++running)
      await new Promise((resolve) => setTimeout(resolve, 5))
      begun.push(running--)
      return acquire(...asked)
    }
    const connection = await connectTo(harness.url)
    const head = `Host: h\r\nAuthorization: Bearer ${harness.tokens.telecaller}\r\nRange: bytes=0-7\r\n`
    connection.send(`GET ${pathname} HTTP/1.1\r\n${head}\r\n`.repeat(20))
    for (let i = 0; i < 20; i++) expect((await connection.answer()).status).toBe(206)
    library.acquire = acquire
    expect([begun.length, most]).toEqual([20, 1])
    connection.destroy()
  })

  test('a body behind an answer that is not out yet comes whole', async () => {
    const connection = await connectTo(harness.url, { Authorization: `Bearer ${harness.tokens.crm}` })
    const body = JSON.stringify({ telecaller_id: 'telecaller-a', name: 'x'.repeat(400) })
    const type = { 'Content-Type': 'application/json', 'Content-Length': String(body.length) }
    connection.head('GET', url, { Range: 'bytes=0-7' })
    connection.head('PUT', '/api/leads/behind', type)
    connection.send(body.slice(0, 100))
    expect((await connection.answer()).text).toBe('00000000')
    connection.send(body.slice(100))
    connection.head('GET', url, { Range: 'bytes=8-15' })
    expect((await connection.answer()).status).toBe(201)
    expect((await connection.answer()).text).toBe('00000008')
    connection.destroy()
  })

  test('in thousands break the connection, and nobody else’s', async () => {
    const connection = await connectTo(harness.url)
    connection.send('GET /readyz HTTP/1.1\r\nHost: h\r\n\r\n'.repeat(5_000))
    await connection.closed
    expect((await ask(`${harness.url}/livez`)).status).toBe(200)
  })
})

test('connections of one address are bounded: what comes beyond is told 503, until others have ended', {
  timeout: 60_000,
}, async () => {
  const server = await startProcess()
  const { hostname, port } = new URL(server.url)
  const open: Socket[] = []
  for (let i = 0; i < MAX_PER_ADDRESS; i += 128) {
    const some = Array.from({ length: 128 }, () => connect({ host: hostname, port: Number(port) }))
    await Promise.all(some.map((socket) => once(socket, 'connect')))
    open.push(...some)
  }
  const beyond = await connectTo(server.url)
  expect((await beyond.answer()).status).toBe(503)
  await beyond.closed
  for (const socket of open.splice(0, 100)) socket.destroy()
  await until(async () => {
    const again = await connectTo(server.url)
    again.head('GET', '/livez')
    const { status } = await again.answer()
    again.destroy()
    return status === 200
  }, 'a place is free')
  for (const socket of open) socket.destroy()
})

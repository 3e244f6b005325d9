import { connect } from 'node:net'
import { expect, test } from 'vitest'
import { ask } from './support/http.ts'
import { playbackCases } from './support/playback-cases.ts'
import { offsets, record } from './support/recordings.ts'
import { startService } from './support/service.ts'

playbackCases(async () => {
  const service = await startService()
  return { service, origin: service.url }
}, false)

test('without pages elsewhere, no page elsewhere may use the bytes', async () => {
  const service = await startService({ env: { RECORDINGS_CORS_ORIGINS: 'none' } })
  const { url } = await record(service, '0123456789')
  const headers = { authorization: `Bearer ${service.tokens.telecaller}`, origin: 'https://elsewhere.example' }
  const res = await ask(url, 'GET', headers)
  expect(res.headers['cross-origin-resource-policy']).toBe('same-origin')
  expect(res.headers).not.toHaveProperty('access-control-allow-origin')
})

test('requests sent ahead of their answers are answered one after the other (RFC 9112 §9.3.2)', async () => {
  const service = await startService()
  const bytes = offsets(1_000_000)
  const { url } = await record(service, bytes)
  const { hostname, port, pathname, host } = new URL(url)
  const request = (range: string, more = '') =>
    `GET ${pathname} HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer ${service.tokens.telecaller}\r\nRange: bytes=${range}\r\n${more}\r\n`
  const socket = connect(Number(port), hostname)
  socket.write(request('0-') + request('8-15') + request('2000000-') + request('16-23', 'Connection: close\r\n'))
  const chunks: Buffer[] = []
  for await (const chunk of socket) chunks.push(chunk)
  const bodies: [number, string][] = []
  for (let rest = Buffer.concat(chunks).toString('latin1'); rest !== ''; ) {
    const [head = ''] = rest.split('\r\n\r\n', 1)
    const length = Number(/^content-length: (\d+)\r?$/im.exec(head)?.[1])
    const end = head.length + 4 + length
    bodies.push([Number(head.slice(9, 12)), rest.slice(head.length + 4, end)])
    rest = rest.slice(end)
  }
  expect(bodies.map(([status]) => status)).toEqual([206, 206, 416, 206])
  expect(bodies[0]?.[1] === bytes.toString('latin1')).toBe(true)
  expect([bodies[1]?.[1], bodies[3]?.[1]]).toEqual(['00000008', '00000016'])
})

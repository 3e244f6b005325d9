/** By what name a client asks for us (RFC 9112 §3.2), and what of it gets into the addresses that answers name. */
import { connect } from 'node:net'
import { describe, expect, test } from 'vitest'
import { startService } from './support/service.ts'
import { metadata } from './support/tus.ts'

const service = await startService()
const behindProxy = await startService({ env: { RECORDINGS_TRUST_PROXY: 'loopback' } })
const lead = await service.lead()
await behindProxy.api('PUT', `/api/leads/${lead.leadId}`, {
  token: behindProxy.tokens.crm,
  body: { telecaller_id: 'telecaller-a' },
})
await behindProxy.api('PUT', `/api/leads/${lead.leadId}/call-logs/${lead.callLogId}`, {
  token: behindProxy.tokens.crm,
  body: {},
})

/** Sends the request as it is and gives all that comes. */
function raw(text: string, { url } = service): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(Number(new URL(url).port), '127.0.0.1')
    let got = ''
    socket.on('data', (bytes) => {
      got += bytes.toString('latin1')
    })
    socket.on('error', reject)
    socket.on('close', () => resolve(got))
    socket.write(text, 'latin1')
  })
}

const PATH = `/api/leads/${lead.leadId}/uploads`
const creation = (target: string, hosts: string[], version = '1.1') =>
  [
    `POST ${target} HTTP/${version}`,
    ...hosts,
    `Authorization: Bearer ${service.tokens.telecaller}`,
    'Tus-Resumable: 1.0.0',
    'Upload-Length: 5',
    `Upload-Metadata: ${metadata({ filename: 'a.wav', call_log_id: lead.callLogId })}`,
    'Connection: close',
    '\r\n',
  ].join('\r\n')
const answerOf = (text: string) => ({
  status: Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1]),
  location: /^location: (.*)\r$/im.exec(text)?.[1],
})

describe('a Host that is none is 400, and goes nowhere', () => {
  test.for([
    ['two lines', ['Host: a.example', 'Host: b.example']],
    ['two lines alike', ['Host: a.example', 'host: a.example']],
    ['two lines, one empty', ['Host: a.example', 'Host:']],
    ['none', []],
    ['a space', ['Host: a b']],
    ['a path and a query', ['Host: a/b?c']],
    ['a script', ['Host: a"><script>alert(1)</script>']],
    ['user information', ['Host: a@b.example']],
    ['two ports', ['Host: a:1:2']],
    ['a port out of range', ['Host: a:99999']],
    ['a list', ['Host: a.example, b.example']],
    ['half an IPv6 address', ['Host: [::1']],
    ['an IPv6 address that is none', ['Host: [::g]']],
    ['a fragment', ['Host: a#b']],
    ['bytes beyond ASCII', ['Host: \xe4.example']],
    ['a port alone', ['Host: :80']],
  ] as const)('%s', async ([, hosts]) => {
    const text = await raw(creation(PATH, [...hosts]))
    expect(answerOf(text)).toEqual({ status: 400, location: undefined })
    expect(text).not.toContain('<script>')
    expect(
      answerOf(await raw(`GET /livez HTTP/1.1\r\n${[...hosts, ''].join('\r\n')}Connection: close\r\n\r\n`)).status,
    ).toBe(400)
  })
})

test.for([
  ['Host: calls.example', 'http://calls.example'],
  ['Host: calls.example:8080', 'http://calls.example:8080'],
  ['Host: [::1]:3000', 'http://[::1]:3000'],
  ['Host: 10.0.0.1', 'http://10.0.0.1'],
  ['Host: my_container:3000', 'http://my_container:3000'],
  ['Host:', ''], // a client without a host to tell
] as const)('%s is part of the address given', async ([host, origin]) => {
  const { status, location } = answerOf(await raw(creation(PATH, [host])))
  expect(status).toBe(201)
  expect(location?.startsWith(`${origin}${PATH}/`)).toBe(true)
})

test('a client of HTTP/1.0 need not tell one', async () => {
  const { status, location } = answerOf(await raw(creation(PATH, [], '1.0')))
  expect([status, location?.startsWith(PATH)]).toEqual([201, true])
})

describe('a target in absolute form', () => {
  test.for([
    [`http://target.example:81${PATH}`, 'http://target.example:81'],
    [`HTTP://target.example${PATH}`, 'http://target.example'],
    [`https://target.example${PATH}`, 'http://target.example'], // how we were reached is not the client's to say
  ])('%s beats Host', async ([target, origin]) => {
    const { status, location } = answerOf(await raw(creation(target as string, ['Host: other.example'])))
    expect(status).toBe(201)
    expect(location?.startsWith(`${origin}${PATH}/`)).toBe(true)
  })
  test.for([
    [`http://target.example${PATH}`, ['Host: a', 'Host: b']],
    [`http://target.example${PATH}`, ['Host: a"b']],
    [`http://u:p@target.example${PATH}`, ['Host: a']],
    [`http://a"><script>${PATH}`, ['Host: a']],
    [`http://${PATH}`, ['Host: a']],
    [`ftp://target.example${PATH}`, ['Host: a']],
  ] as const)('%s with %j is 400', async ([target, hosts]) => {
    expect(answerOf(await raw(creation(target, [...hosts])))).toEqual({ status: 400, location: undefined })
  })
  test('goes to every route', async () => {
    const get = async (target: string) =>
      answerOf(await raw(`GET ${target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`)).status
    expect(await get('http://b/livez')).toBe(200)
    expect(await get('http://b/readyz?x=1')).toBe(400) // which knows no parameter
    expect(await get('http://b/readyz?')).toBe(200)
    expect(await get('http://b')).toBe(404)
    expect(await get('http://b?x')).toBe(404)
  })
})

describe('what a trusted proxy forwards is held to the same', () => {
  const forwarded = async (lines: string[], of = behindProxy) =>
    answerOf(await raw(creation(PATH, ['Host: inner.example', ...lines]), of))
  test.for([
    ['X-Forwarded-Host: a b'],
    ['X-Forwarded-Host: a/b?c'],
    ['X-Forwarded-Host: a"><script>'],
    ['X-Forwarded-Host: a@b'],
    ['X-Forwarded-Proto: javascript'],
    ['X-Forwarded-Proto: https://x/?'],
  ])('%s is 400', async (lines) => {
    expect(await forwarded(lines)).toEqual({ status: 400, location: undefined })
    // Nobody trusts it here, so it says nothing.
    const { status, location } = await forwarded(lines, service)
    expect([status, location?.startsWith(`http://inner.example${PATH}`)]).toEqual([201, true])
  })
  test('and taken', async () => {
    const { status, location } = await forwarded(['X-Forwarded-Host: outer.example:8443', 'X-Forwarded-Proto: https'])
    expect([status, location?.startsWith(`https://outer.example:8443${PATH}/`)]).toEqual([201, true])
  })
})

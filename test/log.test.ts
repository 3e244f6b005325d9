import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { connect } from 'node:net'
import express from 'express'
import { describe, expect, onTestFinished, test } from 'vitest'
import { ServiceError } from '../src/errors.ts'
import { createEvents } from '../src/events.ts'
import { requestLog } from '../src/http/request-log.ts'
import { maskTokens } from '../src/log.ts'
import { readableLog } from './support/log.ts'

const JWT = 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl'

async function startApp(level?: string) {
  const { log, lines, line } = readableLog(level)
  const app = express()
  app.use(requestLog(log))
  app.use('/api', (req, res) => {
    res.locals.caller = { id: 'asha' }
    let bytes = 0
    req.on('data', (chunk: Buffer) => {
      bytes += chunk.length
    })
    req.on('end', () => res.send(`${bytes} bytes`))
  })
  app.get('/livez', (_req, res) => res.send('ok'))
  app.get('/readyz', (_req, res) => res.status(503).send('not yet'))
  app.get('/fails', () => {
    throw new ServiceError('unavailable', 'The storage is away.', {
      cause: Object.assign(new Error('EIO: i/o error'), { code: 'EIO' }),
    })
  })
  app.get('/refuses', () => {
    throw new ServiceError('lead_not_found', 'There is no such lead.')
  })
  app.get('/half', (_req, res) => res.write('half'))
  app.get('/hangs', () => {})
  app.get('/breaks', (_req, res) => {
    res.write('half')
    throw new ServiceError('unavailable', 'The storage is away.')
  })
  app.use(((error, _req, res, _next) => {
    res.locals.error = error
    if (res.headersSent) return res.destroy()
    res.status(error.status).send(error.message)
  }) satisfies express.ErrorRequestHandler)
  const server = createServer(app).listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return { address: `http://127.0.0.1:${port}`, port, lines, line }
}

describe('the line of a request', () => {
  test('says who asked for what, what came of it, and how much went over the wire', async () => {
    const { address, line } = await startApp()
    const body = 'x'.repeat(100_000)
    const res = await fetch(`${address}/api/leads/1?token=abc&limit=2`, { method: 'POST', body })
    expect(await res.text()).toBe('100000 bytes')
    const said = await line()
    expect(said).toEqual({
      level: 'info',
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      msg: 'request',
      requestId: res.headers.get('x-request-id'),
      method: 'POST',
      url: '/api/leads/1?token=***&limit=2',
      status: 200,
      durationMs: expect.any(Number),
      bytesIn: expect.any(Number),
      bytesOut: expect.any(Number),
      callerId: 'asha',
      leadId: '1',
    })
    expect(said.bytesIn).toBeGreaterThan(100_000)
    expect(said.bytesIn).toBeLessThan(101_000)
    expect(said.bytesOut).toBeGreaterThan(100)
    expect(said.bytesOut).toBeLessThan(1000)
  })

  test('counts the bytes of its own request alone on a connection that is used again', async () => {
    const { port, line } = await startApp()
    const socket = connect(port, '127.0.0.1')
    const ask = async (bytes: number) => {
      socket.write(`POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: ${bytes}\r\n\r\n${'x'.repeat(bytes)}`)
      return line()
    }
    expect((await ask(50_000)).bytesIn).toBeGreaterThan(50_000)
    expect((await ask(10)).bytesIn).toBeLessThan(200)
    expect((await ask(30_000)).bytesIn).toBeLessThan(31_000)
    socket.destroy()
  })

  test.for([
    ['abc-123.D:4_', true],
    ['x'.repeat(64), true],
    ['x'.repeat(65), false],
    ['a b', false],
    ['{"a":1}', false],
    ['', false],
  ] as const)('takes over the request id %j: %s', async ([id, taken]) => {
    const { address, line } = await startApp()
    const res = await fetch(`${address}/api`, { headers: { 'x-request-id': id } })
    const echoed = res.headers.get('x-request-id')
    expect(echoed === id).toBe(taken)
    expect(echoed).toMatch(/^[\w.:-]{1,64}$/)
    expect((await line()).requestId).toBe(echoed)
  })

  test('of a 5xx is an error with the cause and its stack', async () => {
    const { address, line } = await startApp()
    await fetch(`${address}/fails`)
    expect(await line()).toMatchObject({
      level: 'error',
      status: 503,
      code: 'unavailable',
      err: { type: 'ServiceError', stack: expect.stringContaining('log.test.ts'), cause: { code: 'EIO' } },
    })
  })

  test('of a 4xx has its code and no stack', async () => {
    const { address, line } = await startApp()
    await fetch(`${address}/refuses`)
    const said = await line()
    expect(said).toMatchObject({ level: 'info', status: 404, code: 'lead_not_found', reason: 'There is no such lead.' })
    expect(said).not.toHaveProperty('err')
  })

  test('of a service that is not ready is no error: why has a line of its own', async () => {
    const { address, line } = await startApp('debug')
    await fetch(`${address}/readyz`)
    expect(await line()).toMatchObject({ level: 'debug', url: '/readyz', status: 503 })
  })

  test('of a probe is there at debug only', async () => {
    const quiet = await startApp('info')
    await fetch(`${quiet.address}/livez`)
    await fetch(`${quiet.address}/api`)
    expect(await quiet.line()).toMatchObject({ url: '/api' })
    const loud = await startApp('debug')
    await fetch(`${loud.address}/livez`)
    expect(await loud.line()).toMatchObject({ level: 'debug', url: '/livez' })
  })

  test.for([
    ['/half', 200],
    ['/hangs', undefined],
  ] as const)('says that the client left %s', async ([path, status]) => {
    const { port, line } = await startApp()
    const socket = connect(port, '127.0.0.1')
    socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`)
    if (status) await once(socket, 'data')
    else await once(socket, 'connect')
    socket.end()
    socket.destroy()
    const said = await line()
    expect(said).toMatchObject({ level: 'info', url: path, aborted: true, msg: 'request aborted by the client' })
    expect(said.status).toBe(status)
  })

  test('of an answer that we broke off is an error, though its status was good', async () => {
    const { address, line } = await startApp()
    await expect(fetch(`${address}/breaks`).then((res) => res.text())).rejects.toThrow()
    expect(await line()).toMatchObject({
      level: 'error',
      status: 200,
      aborted: true,
      msg: 'answer broken off',
      err: { code: 'unavailable' },
    })
  })

  test('never has a header in it', async () => {
    const { address, line } = await startApp()
    const secret = 'never-to-be-seen'
    await fetch(`${address}/fails?access_token=${secret}`, {
      headers: { authorization: `Bearer ${secret}`, cookie: secret },
    })
    expect(JSON.stringify(await line())).not.toContain(secret)
  })
})

describe('masking', () => {
  test.for([
    ['/a', '/a'],
    ['/a?b=c', '/a?b=c'],
    ['/a?token=abc', '/a?token=***'],
    ['/a?b=c&token=abc&d=e', '/a?b=c&token=***&d=e'],
    [
      '/a?access_token=abc&X-Amz-Signature=1&clientSecret=2',
      '/a?access_token=***&X-Amz-Signature=***&clientSecret=***',
    ],
    ['/a?TOKEN=abc=def?ghi', '/a?TOKEN=***'],
    ['/a?token=abc?jwt=def&b=c', '/a?token=***&b=c'],
    ['/a?%74oken=abc', '/a?%74oken=***'],
    ['/a?next=/b?token=abc', '/a?next=/b?token=***'],
    ['/a#access_token=abc', '/a#access_token=***'],
    ['/a?token', '/a?token'],
    ['/a?token=', '/a?token=***'],
    [`/a/${JWT}/b?link=${JWT}`, '/a/***/b?link=***'],
    ['cannot read "/a?token=abc" of it', 'cannot read "/a?token=***" of it'],
    [`Bearer ${JWT} is no good`, 'Bearer *** is no good'],
    ['a = b, tokens = 5', 'a = b, tokens = 5'],
  ] as const)('%s', ([text, masked]) => {
    expect(maskTokens(text)).toBe(masked)
  })

  test.for(['token', 'eyJ', 'eyJ.', 'a?', '?token=&', '%', '='])(
    'an address of %j over and over is no work',
    (part) => {
      const before = performance.now()
      maskTokens(`/a?${part.repeat(100_000 / part.length)}`)
      expect(performance.now() - before).toBeLessThan(200)
    },
  )

  test('holds for what an error says, and its causes', () => {
    const { log, lines } = readableLog()
    const cause = Object.assign(new Error(`GET /a?token=abc of ${JWT}`), { request: { authorization: 'abc' } })
    log.error({ err: new Error('failed', { cause }) }, 'it failed')
    expect(JSON.stringify(lines)).not.toMatch(/abc|eyJ/)
    expect(lines[0]).toMatchObject({ err: { message: 'failed', cause: { message: 'GET /a?token=*** of ***' } } })
  })

  test('does not end in a ring of causes', () => {
    const { log, lines } = readableLog()
    const error = new Error('a')
    error.cause = error
    log.error({ err: error }, 'it failed')
    log.error({ err: 'a string' }, 'it failed')
    expect(lines).toMatchObject([{ err: { message: 'a' } }, { err: { type: 'string', message: 'a string' } }])
  })
})

describe('an event', () => {
  test('is one line and one more in its counter', () => {
    const { log, lines } = readableLog()
    const events = createEvents(log)
    events.uploadExpired({ uploadId: 'u1', leadId: 'l1', offset: 5 })
    events.uploadExpired({ uploadId: 'u2', leadId: 'l1', offset: 0 })
    events.finishFailed({ uploadId: 'u1', leadId: 'l1', err: new Error('disk') })
    expect(events.counters).toMatchObject({ uploadExpired: 2, finishFailed: 1, uploadCreated: 0 })
    expect(lines).toMatchObject([
      { event: 'uploadExpired', uploadId: 'u1', leadId: 'l1', offset: 5, level: 'info' },
      { event: 'uploadExpired', uploadId: 'u2' },
      { event: 'finishFailed', level: 'error', err: { message: 'disk', stack: expect.any(String) } },
    ])
  })

  test('that is more than information is listed in docs/operating.md, with its level', () => {
    const { log, lines } = readableLog('debug')
    const { counters, ...events } = createEvents(log)
    for (const tell of Object.values(events)) (tell as (fields: object) => void)({})
    expect(lines).toHaveLength(Object.keys(counters).length)
    const [, section = ''] = /### Events\n(.*?)\n#/s.exec(readFileSync('docs/operating.md', 'utf8')) ?? []
    const listed = new Map(
      Array.from(section.matchAll(/^\| `(\w+)` \| `(\w+)` \| \S/gm), ([, name, level]) => [name, level]),
    )
    const worse = lines.filter(({ level }) => level === 'warn' || level === 'error')
    for (const { event, level } of worse) expect([event, listed.get(event as string)]).toEqual([event, level])
    const known = new Set([...Object.keys(counters), 'logLinesDropped', 'tracesNotSent'])
    expect([...listed.keys()].filter((name) => !known.has(name as string))).toEqual([])
  })

  test('is counted where the log is silent', () => {
    const { log, lines } = readableLog('silent')
    const events = createEvents(log)
    events.lockTakenOver({ uploadId: 'u1' })
    expect(events.counters.lockTakenOver).toBe(1)
    expect(lines).toEqual([])
  })
})

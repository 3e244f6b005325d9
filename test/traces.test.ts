/** Traces as a collector gets them: a receiver that reads what is posted by OTLP. */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { text } from 'node:stream/consumers'
import { describe, expect, onTestFinished, test } from 'vitest'
import { routeName } from '../src/http/route-names.ts'
import { PACKAGES } from '../src/tracing/traces.ts'
import { startProcess } from './support/process.ts'
import { record } from './support/recordings.ts'
import { jsonOf } from './support/service.ts'
import { tusClient } from './support/tus.ts'

interface Value {
  stringValue?: string
  intValue?: number
}
interface Span {
  name: string
  traceId: string
  spanId: string
  parentSpanId?: string
  status: { code?: number }
  attributes: { key: string; value: Value }[]
}

async function startCollector(answer = 200) {
  const posted: { url: string | undefined; headers: IncomingHttpHeaders; body: string }[] = []
  const server = createServer(async (req, res) => {
    posted.push({ url: req.url, headers: req.headers, body: await text(req) })
    res.writeHead(answer, { 'content-type': 'application/json' }).end('{}')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  const spans = () =>
    posted.flatMap(({ body }) =>
      JSON.parse(body).resourceSpans.flatMap((each: { scopeSpans: { spans: Span[] }[] }) =>
        each.scopeSpans.flatMap((scope) => scope.spans),
      ),
    ) as Span[]
  return { address: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, posted, spans }
}

const attributesOf = ({ attributes }: Span) =>
  Object.fromEntries(attributes.map(({ key, value }) => [key, value.stringValue ?? value.intValue]))

test('an upload is a trace: its requests, and below them what took their time; posted at the latest by the stop', async () => {
  const collector = await startCollector()
  const server = await startProcess({
    env: {
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.address,
      OTEL_EXPORTER_OTLP_HEADERS: 'x-key=of-the-collector',
      OTEL_SERVICE_NAME: 'recordings-of-a-test',
    },
  })
  const lead = await server.lead()
  const tus = tusClient(server.tokens.telecaller)
  const upload = await tus.begin(lead, 10)
  const [traceId, spanId] = ['0af7651916cd43dd8448eb211c80319c', 'b7ad6b7169203331']
  const traceparent = `00-${traceId}-${spanId}-01`
  const last = await tus.patch(upload, 0, Buffer.from('0123456789'), { traceparent, 'x-request-id': 'the-last' })
  const address = `${lead.recordings}/${last.headers.get('recording-id')}`
  const made = await jsonOf(await server.api('POST', `${address}/playback-links`))
  expect((await fetch(made.url as string)).status).toBe(200)
  expect((await server.api('GET', address, { token: server.tokens.other })).status).toBe(403)
  expect((await fetch(`${server.url}/wp-login.php?x=1`)).status).toBe(404)
  await fetch(`${server.url}/readyz`)
  expect(await server.kill('SIGTERM')).toEqual({ code: 0, signal: null })

  const spans = collector.spans()
  const patch = spans.find(({ name }) => name === 'PATCH /api/leads/{lead_id}/uploads/{upload_id}') as Span
  expect(patch).toMatchObject({ traceId, parentSpanId: spanId })
  expect(attributesOf(patch)).toMatchObject({
    'request.id': 'the-last',
    'http.response.status_code': 204,
    'url.path': '/api/leads/{lead_id}/uploads/{upload_id}',
  })
  const below = (parent: Span): Span[] =>
    spans.filter(({ parentSpanId }) => parentSpanId === parent.spanId).flatMap((span) => [span, ...below(span)])
  const names = below(patch).map(({ name }) => name)
  expect(names).toEqual(
    expect.arrayContaining(['store append', 'upload finish', 'store moveTo', 'database write', 'media inspect']),
  )

  const play = spans.find(({ name }) => name === 'GET /api/leads/{lead_id}/recordings/{recording_id}') as Span
  expect(below(play).map(({ name }) => name)).toEqual(['store acquire'])
  const refused = spans.find((span) => attributesOf(span)['error.type'] === 'not_your_lead') as Span
  expect([attributesOf(refused)['http.response.status_code'], refused.status.code ?? 0]).toEqual([403, 0])
  expect(spans.map(({ name }) => name)).toContain('GET other')
  expect(spans.filter(({ name }) => /lead-\d|call-\d|readyz|wp-login/.test(name))).toEqual([])

  const all = collector.posted.map(({ body }) => body).join()
  expect(all).toContain('recordings-of-a-test')
  expect(all).not.toContain('eyJ')
  expect(all).not.toContain('token=')
  expect([lead.leadId, lead.callLogId, path.basename(upload)].filter((id) => all.includes(id))).toEqual([])
  expect(collector.posted[0]).toMatchObject({ url: '/v1/traces', headers: { 'x-key': 'of-the-collector' } })
  expect(server.lines.find(({ requestId }) => requestId === 'the-last')).toMatchObject({ traceId })
})

test('a collector that refuses costs no request anything, and the stop keeps its time', async () => {
  const collector = await startCollector(400)
  const server = await startProcess({ env: { OTEL_EXPORTER_OTLP_ENDPOINT: collector.address } })
  const { url } = await record(server, '0123456789')
  expect((await server.api('GET', url)).status).toBe(200)
  const startedAtMs = performance.now()
  expect(await server.kill('SIGTERM')).toEqual({ code: 0, signal: null })
  expect(performance.now() - startedAtMs).toBeLessThan(10_000)
  expect(collector.posted.length).toBeGreaterThan(0)
  expect(server.lines).toContainEqual(expect.objectContaining({ event: 'tracesNotSent', level: 'warn' }))
})

test('without an address for them, nothing of what makes traces is loaded', async () => {
  // Metrics bring the bare interface.
  const watching = `import { registerHooks } from 'node:module'
    registerHooks({ load(url, context, next) {
      if (/@opentelemetry.(?!api)|src.tracing/.test(url)) process.stderr.write('LOADED ' + url)
      return next(url, context)
    } })`
  const preload = `data:text/javascript,${encodeURIComponent(watching)}`
  const server = await startProcess({ nodeArguments: ['--import', preload] })
  expect((await fetch(`${server.url}/readyz`)).status).toBe(200)
  await server.kill('SIGTERM')
  expect(server.stderr).not.toContain('LOADED')
})

test('the packages that the start asks for are those of the tests and of the document', () => {
  const { peerDependencies, devDependencies } = JSON.parse(readFileSync('package.json', 'utf8'))
  expect(peerDependencies).toEqual(PACKAGES)
  expect(devDependencies).toMatchObject(PACKAGES)
  const command = Object.entries(PACKAGES).map(([name, version]) => `${name}@${version}`)
  expect(readFileSync('docs/operating.md', 'utf8')).toContain(`npm install --no-save ${command.join(' ')}\n`)
})

describe('the name of a route', () => {
  test.for([
    ['/api/leads/rao', '/api/leads/{lead_id}'],
    ['/api/leads/rao/recordings?limit=1', '/api/leads/{lead_id}/recordings'],
    ['/api/leads/rao/recordings/', '/api/leads/{lead_id}/recordings'],
    ['/api/leads/rao/recordings/x/playback-links', '/api/leads/{lead_id}/recordings/{recording_id}/playback-links'],
    ['/api/leads/leads/call-logs/uploads', '/api/leads/{lead_id}/call-logs/{call_log_id}'],
    ['/api/leads', '/api/leads'],
    ['/readyz', '/readyz'],
    ['/api/leads/rao/uploads/x?y', '/api/leads/{lead_id}/uploads/{upload_id}'],
    ['/api/leads//recordings', 'other'],
    ['/', 'other'],
    ['', 'other'],
    ['/api/toString', 'other'],
    ['/wp-login.php', 'other'],
    ['//', 'other'],
  ] as const)('of %j is %s', ([url, name]) => {
    expect(routeName(url)).toBe(name)
  })
})

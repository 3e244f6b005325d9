/** Every address says what it takes: another method is 405 with `Allow`, and what `Allow` names is taken. */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { record } from './support/recordings.ts'
import { startService } from './support/service.ts'
import { tusClient } from './support/tus.ts'

const harness = await startService()
const lead = await harness.lead()
const recording = await record(harness, '0123456789', { lead })
const upload = await tusClient(harness.tokens.telecaller).begin(lead, 10)
const leadPath = `/api/leads/${lead.leadId}`
const details = `${recording.url}/details`
const links = `${recording.url}/playback-links`

const ROUTES: [what: string, path: string, allow: string, example: string][] = [
  ['liveness', '/livez', 'GET, HEAD, OPTIONS', '/livez'],
  ['readiness', '/readyz', 'GET, HEAD, OPTIONS', '/readyz'],
  ['the contract', '/openapi.json', 'GET, HEAD, OPTIONS', '/openapi.json'],
  ['its page', '/docs', 'GET, HEAD, OPTIONS', '/docs'],
  ['what that page loads', '/docs/{file}', 'GET, HEAD, OPTIONS', '/docs/open.js'],
  ['metrics', '/metrics', 'GET, HEAD, OPTIONS', '/metrics'],
  ['the caller', '/api/me', 'GET, HEAD, OPTIONS', '/api/me'],
  ['leads', '/api/leads', 'GET, HEAD, OPTIONS', '/api/leads'],
  ['recordings across leads', '/api/recordings', 'GET, HEAD, OPTIONS', '/api/recordings'],
  ['figures', '/api/statistics', 'GET, HEAD, OPTIONS', '/api/statistics'],
  ['a lead', '/api/leads/{lead_id}', 'GET, HEAD, PUT, OPTIONS', leadPath],
  ['calls', '/api/leads/{lead_id}/call-logs', 'GET, HEAD, OPTIONS', `${leadPath}/call-logs`],
  [
    'a call log',
    '/api/leads/{lead_id}/call-logs/{call_log_id}',
    'GET, HEAD, PUT, OPTIONS',
    `${leadPath}/call-logs/${lead.callLogId}`,
  ],
  ['uploads', '/api/leads/{lead_id}/uploads', 'GET, HEAD, POST, OPTIONS', lead.uploads],
  ['an upload', '…/uploads/{upload_id}', 'HEAD, PATCH, DELETE, OPTIONS', upload],
  ['recordings', '/api/leads/{lead_id}/recordings', 'GET, HEAD, POST, OPTIONS', lead.recordings],
  ['the details', '…/recordings/{recording_id}/details', 'GET, HEAD, OPTIONS', details],
  ['playback links', '…/recordings/{recording_id}/playback-links', 'POST, OPTIONS', links],
  ['a recording', '…/recordings/{recording_id}', 'GET, HEAD, DELETE, OPTIONS', recording.url],
]
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'OPTIONS', 'DELETE']
const headers = { 'tus-resumable': '1.0.0' }

describe('an address', () => {
  test.for(ROUTES)('of %s (%s) takes %s, and for all else is 405 with these', async ([, , allow, address]) => {
    const taken = allow.split(', ')
    for (const method of METHODS.filter((each) => !taken.includes(each))) {
      const res = await harness.api(method, address, { headers })
      expect([method, res.status, res.headers.get('allow')]).toEqual([method, 405, allow])
      if (method !== 'HEAD') expect(await res.text()).toContain('method_not_allowed')
      const withBody = method === 'GET' || method === 'HEAD' ? undefined : { x: 1 }
      expect((await harness.api(method, `${address}/`, { headers, body: withBody })).status).toBe(405)
    }
    for (const method of taken) {
      const res = await harness.api(method, address, { headers })
      expect([method, res.status]).not.toEqual([method, 405])
      const told = `${res.headers.get('error-code')} ${await res.text()}`
      expect(told).not.toMatch(/^route_not_found|"code":"route_not_found"/)
    }
  })

  test('that is not there is 404 for every method', async () => {
    for (const method of METHODS.filter((each) => each !== 'OPTIONS')) {
      expect((await harness.api(method, `${leadPath}/notes`)).status).toBe(404)
      expect((await harness.api(method, '/')).status).toBe(404)
    }
  })

  test('asks for a token before it tells which methods it takes', async () => {
    expect((await harness.api('PATCH', lead.recordings, { token: null })).status).toBe(401)
  })
})

test('the README’s table of routes names these methods, and no other address', () => {
  const text = readFileSync('README.md', 'utf8')
  const table = text.slice(text.indexOf('## Routes'), text.indexOf('Errors are'))
  const named = new Map<string, Set<string>>()
  for (const [, row = ''] of table.matchAll(/^\| (`[^|]*`) \|/gm)) {
    const [methods = '', ...paths] = row.replaceAll('`', '').split(/(?<=[A-Z]) (?=[/…])|, (?=\/)/)
    for (const path of paths) {
      const full = path.replace(/\?.*/, '').replace(/^…\/recordings$/, '/api/leads/{lead_id}/recordings')
      named.set(full, new Set([...(named.get(full) ?? []), ...methods.split(', ')]))
    }
  }
  // OPTIONS is for pages on another origin, and HEAD comes with GET.
  const told = (methods: Iterable<string>) => [...methods].filter((m) => m !== 'OPTIONS' && m !== 'HEAD').sort()
  const expected = ROUTES.map(([, path, allow]) => [path, told(allow.split(', '))] as const)
  expect(Object.fromEntries(Array.from(named, ([path, methods]) => [path, told(methods)]))).toEqual(
    Object.fromEntries(expected),
  )
})

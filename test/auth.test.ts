import { createHmac, generateKeyPairSync } from 'node:crypto'
import { exportJWK, SignJWT } from 'jose'
import { beforeAll, describe, expect, test } from 'vitest'
import { jsonOf, SECRET, startService, type TestLead, tokenFor } from './support/service.ts'
import { metadata, noise, OFFSET_TYPE, tusClient } from './support/tus.ts'

const ISSUER = 'https://crm.example'
const AUDIENCE = 'recordings'
const harness = await startService()
const strict = await startService({ env: { RECORDINGS_JWT_ISSUER: ISSUER, RECORDINGS_JWT_AUDIENCE: AUDIENCE } })

let lead: TestLead
let recordingId: string
let uploadId: string
let doneId: string

beforeAll(async () => {
  lead = await harness.lead()
  const tus = tusClient(harness.tokens.telecaller)
  const idOf = (url: string) => new URL(url).pathname.split('/').pop() as string
  uploadId = idOf(await tus.begin(lead, 10))
  const done = await tus.begin(lead, 5)
  recordingId = (await tus.patch(done, 0, noise(5))).headers.get('recording-id') as string
  doneId = idOf(done)
})

interface Route {
  method: string
  path: (at: { leadId: string; callLogId: string }) => string
  headers?: Record<string, string>
  body?: unknown
  /** May a telecaller use it at all? */
  crmOnly?: boolean
}

const tusHeaders = { 'tus-resumable': '1.0.0' }
const bytes = { ...tusHeaders, 'content-type': OFFSET_TYPE, 'upload-offset': '0' }
const uploads = ({ leadId }: { leadId: string }) => `/api/leads/${leadId}/uploads`
const recordings = ({ leadId }: { leadId: string }) => `/api/leads/${leadId}/recordings`

/** Every route that wants to know who is asking. */
const ROUTES: Route[] = [
  {
    method: 'PUT',
    path: ({ leadId }) => `/api/leads/${leadId}`,
    body: { telecaller_id: 'telecaller-b' },
    crmOnly: true,
  },
  {
    method: 'PUT',
    path: ({ leadId, callLogId }) => `/api/leads/${leadId}/call-logs/${callLogId}`,
    body: {},
    crmOnly: true,
  },
  {
    method: 'POST',
    path: uploads,
    headers: {
      ...tusHeaders,
      'upload-length': '5',
      'upload-metadata': metadata({ filename: 'a.wav', call_log_id: 'call' }),
    },
  },
  { method: 'POST', path: uploads, headers: { ...tusHeaders, 'upload-length': '5', 'upload-concat': 'partial' } },
  { method: 'POST', path: uploads, headers: { ...tusHeaders, 'upload-concat': 'final;/a' } },
  { method: 'HEAD', path: (at) => `${uploads(at)}/${uploadId}`, headers: tusHeaders },
  { method: 'HEAD', path: (at) => `${uploads(at)}/${doneId}`, headers: tusHeaders },
  { method: 'PATCH', path: (at) => `${uploads(at)}/${uploadId}`, headers: bytes, body: 'abcde' },
  {
    method: 'POST',
    path: (at) => `${uploads(at)}/${uploadId}`,
    headers: { ...bytes, 'x-http-method-override': 'PATCH' },
    body: 'abcde',
  },
  { method: 'DELETE', path: (at) => `${uploads(at)}/${uploadId}`, headers: tusHeaders },
  { method: 'DELETE', path: (at) => `${uploads(at)}/${doneId}`, headers: tusHeaders },
  { method: 'POST', path: recordings, body: { action: 'init', filename: 'a.wav', call_log_id: 'call' } },
  { method: 'POST', path: recordings, body: { action: 'append', upload_id: 'a', chunk_index: 0, chunk: 'AAAA' } },
  {
    method: 'POST',
    path: recordings,
    body: { action: 'finalize', upload_id: 'a', total_chunks: 1, call_log_id: 'call' },
  },
  { method: 'POST', path: recordings, body: { action: 'cancel', upload_id: 'a' } },
  {
    method: 'POST',
    path: recordings,
    headers: { 'content-type': 'multipart/form-data; boundary=x' },
    body: '--x--\r\n',
  },
  { method: 'GET', path: recordings },
  { method: 'GET', path: (at) => `${recordings(at)}/${recordingId}` },
  { method: 'HEAD', path: (at) => `${recordings(at)}/${recordingId}` },
  { method: 'GET', path: (at) => `${recordings(at)}/${recordingId}/details` },
  { method: 'POST', path: (at) => `${recordings(at)}/${recordingId}/playback-links`, body: {} },
  { method: 'DELETE', path: (at) => `${recordings(at)}/${recordingId}` },
]
const named = ROUTES.map((route) => {
  const { method, headers = {}, body } = route
  const what =
    headers['upload-concat'] ?? headers['x-http-method-override'] ?? (body as { action?: string })?.action ?? ''
  return [
    `${method} ${route.path({ leadId: 'LEAD', callLogId: 'CALL' }).replace(/undefined/, 'ID')} ${what}`.trim(),
    route,
  ] as const
})

const ask = (
  { method, path, headers = {}, body }: Route,
  token: string | null,
  at: { leadId: string; callLogId: string } = lead,
) => harness.api(method, path(at), { token, headers, ...(body !== undefined && { body }) })

const b64 = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
const exp = Math.floor(Date.now() / 1000) + 3_600
const claims = { sub: 'telecaller-a', exp }
const signed = (header: object, payload: object, secret: string | Buffer = SECRET) => {
  const text = `${b64(header)}.${b64(payload)}`
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`
}

describe('without a token that holds, every route answers 401', () => {
  test.for(named)('%s', async ([, route]) => {
    const expired = await tokenFor({ sub: 'telecaller-a', exp: exp - 7_200 })
    for (const token of [null, 'no.token.atall', expired]) {
      const res = await ask(route, token)
      expect(res.status).toBe(401)
      expect(res.headers.get('www-authenticate')).toMatch(/^Bearer /)
    }
  })
})

describe('a token that lies is 401', () => {
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const LIES: [string, () => string | Promise<string>][] = [
    ['no exp', () => signed({ alg: 'HS256' }, { sub: 'telecaller-a' })],
    ['no sub', () => signed({ alg: 'HS256' }, { exp })],
    ['an exp that is text', () => signed({ alg: 'HS256' }, { sub: 'telecaller-a', exp: String(exp) })],
    ['expired beyond the tolerance', () => signed({ alg: 'HS256' }, { ...claims, exp: exp - 3_600 - 60 })],
    ['not valid yet', () => signed({ alg: 'HS256' }, { ...claims, nbf: exp })],
    ['alg none', () => `${b64({ alg: 'none' })}.${b64(claims)}.`],
    ['alg none with a signature', () => signed({ alg: 'none' }, claims)],
    ['alg NONE in capitals', () => `${b64({ alg: 'NONE' })}.${b64(claims)}.`],
    [
      'another algorithm of the same key',
      () =>
        new SignJWT(claims).setProtectedHeader({ alg: 'HS512' }).sign(new TextEncoder().encode(SECRET.padEnd(64, 'x'))),
    ],
    ['a key pair of its own', () => new SignJWT(claims).setProtectedHeader({ alg: 'RS256' }).sign(rsa.privateKey)],
    [
      'the key it brings along',
      async () =>
        signed({ alg: 'HS256', jwk: await exportJWK(rsa.publicKey) }, claims, 'its own key, which is long enough too'),
    ],
    ['another secret', () => tokenFor(claims, 'another secret of at least thirty-two bytes')],
    ['an empty secret', () => signed({ alg: 'HS256' }, claims, Buffer.alloc(0))],
    [
      'claims changed after signing',
      async () => {
        const [header, , signature] = (await tokenFor({ sub: 'telecaller-b' })).split('.')
        return `${header}.${b64(claims)}.${signature}`
      },
    ],
    ['a role that does not exist', () => tokenFor({ ...claims, role: 'admin' })],
    ['a role that is a list', () => tokenFor({ ...claims, role: ['service'] as never })],
    ['a caller id that is no text', () => tokenFor({ ...claims, sub: ['telecaller-a'] as never })],
    ['a caller id with a control character', () => tokenFor({ ...claims, sub: 'telecaller\n-a' })],
    ['a caller id that is too long', () => tokenFor({ ...claims, sub: 'a'.repeat(256) })],
    ['an empty caller id', () => tokenFor({ ...claims, sub: '' })],
    ['a critical extension', () => signed({ alg: 'HS256', crit: ['x'], x: 1 }, claims)],
    ['two parts', async () => (await tokenFor(claims)).split('.').slice(0, 2).join('.')],
  ]

  test.for(LIES)('%s', async ([, lie]) => {
    const token = await lie()
    const res = await harness.api('GET', lead.recordings, { token })
    expect(res.status).toBe(401)
    expect(res.headers.get('www-authenticate')).toMatch(/^Bearer .*error="invalid_token"/)
    expect((await jsonOf(res)).code).toMatch(/^(unauthenticated|token_expired)$/)
    const head = await tusClient(token).head(`${lead.uploads}/${uploadId}`)
    expect([head.status, head.headers.get('upload-offset')]).toEqual([401, null])
  })
  test.for(['', 'Bearer', 'Bearer  ', 'Basic dTpw', 'Token x', 'Bearer a b'])(
    'a header of "%s"',
    async (authorization) => {
      const res = await harness.api('GET', lead.recordings, { token: null, headers: { authorization } })
      expect(res.status).toBe(401)
    },
  )

  test('another issuer or audience, where they are configured', async () => {
    const own = await strict.lead().catch(() => undefined)
    expect(own).toBeUndefined() // the tests' own tokens name neither
    const status = async (more: object) =>
      (
        await strict.api('GET', '/api/leads/none/recordings', {
          token: await tokenFor({ sub: 'telecaller-a', ...more }),
        })
      ).status
    expect(await status({ iss: ISSUER, aud: AUDIENCE })).toBe(404)
    expect(await status({ iss: ISSUER, aud: ['other', AUDIENCE] })).toBe(404)
    expect(await status({ iss: ISSUER })).toBe(401)
    expect(await status({ aud: AUDIENCE })).toBe(401)
    expect(await status({ iss: `${ISSUER}/`, aud: AUDIENCE })).toBe(401)
    expect(await status({ iss: ISSUER, aud: 'other' })).toBe(401)
  })
  test('while one that expired half a minute ago may be early', async () => {
    const token = await tokenFor({ sub: 'telecaller-a', exp: Math.floor(Date.now() / 1000) - 10 })
    expect((await harness.api('GET', lead.recordings, { token })).status).toBe(200)
  })
})

describe('telecaller B is refused at every route of telecaller A’s lead: 403', () => {
  test.for(named)('%s', async ([, route]) => {
    const res = await ask(route, harness.tokens.other)
    expect(res.status).toBe(403)
    if (route.method !== 'HEAD') expect(await res.text()).toMatch(route.crmOnly ? /forbidden/ : /not_your_lead/)
  })
  test('and nothing came of it', async () => {
    const head = await tusClient(harness.tokens.telecaller).head(`${lead.uploads}/${uploadId}`)
    expect([head.status, head.headers.get('upload-offset')]).toEqual([200, '0'])
    expect((await harness.api('GET', `${lead.recordings}/${recordingId}`)).status).toBe(200)
    expect((await jsonOf(await harness.api('GET', lead.recordings))).recordings).toHaveLength(1)
  })
  test('with a lead of his own, A’s uploads and recordings are not there', async () => {
    const own = await harness.lead('telecaller-b')
    for (const [, route] of named) {
      const isOfOne = /\/(uploads|recordings)\/./.test(route.path(own))
      if (!isOfOne) continue
      const res = await ask(route, harness.tokens.other, own)
      expect([route.method, route.path(own), res.status]).toEqual([route.method, route.path(own), 404])
    }
  })
})

describe('an unknown lead is 404 at every route', () => {
  test.for(named.filter(([, route]) => !route.crmOnly))('%s', async ([, route]) => {
    for (const leadId of ['unknown', 'a'.repeat(65), 'a.b']) {
      expect((await ask(route, harness.tokens.telecaller, { leadId, callLogId: 'call' })).status).toBe(404)
    }
  })
})

describe('a supervisor listens, and uploads nothing', () => {
  const isUpload = ({ method, path }: Route) => {
    const at = path({ leadId: 'l', callLogId: 'c' })
    return at.includes('/uploads') || (method === 'POST' && at.endsWith('/recordings'))
  }
  test.for(named.filter(([, route]) => isUpload(route) || route.crmOnly))('403: %s', async ([, route]) => {
    expect((await ask(route, harness.tokens.supervisor)).status).toBe(403)
  })
  test.for(named.filter(([, route]) => !isUpload(route) && !route.crmOnly && route.method !== 'DELETE'))(
    'allowed: %s',
    async ([, route]) => {
      expect((await ask(route, harness.tokens.supervisor)).ok).toBe(true)
    },
  )
})

test('rights are asked again at every request: a lead that moves takes its uploads and recordings with it', async () => {
  const moving = await harness.lead()
  const tus = tusClient(harness.tokens.telecaller)
  const url = await tus.begin(moving, 10)
  await tus.patch(url, 0, noise(9))
  const move = (telecaller_id: string) =>
    harness.api('PUT', `/api/leads/${moving.leadId}`, { token: harness.tokens.crm, body: { telecaller_id } })
  expect((await move('telecaller-b')).status).toBe(200)
  expect((await tus.patch(url, 9, noise(1))).status).toBe(403)
  expect((await tusClient(harness.tokens.other).patch(url, 9, noise(1))).status).toBe(403) // B’s lead, A’s upload
  expect((await harness.api('GET', moving.recordings)).status).toBe(403)
  await move('telecaller-a')
  expect((await tus.patch(url, 9, noise(1))).headers.get('recording-id')).not.toBeNull()
})

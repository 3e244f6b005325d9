/** What is told of a token that is refused, and of keys that can't be had. */
import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { exportJWK, SignJWT } from 'jose'
import { describe, expect, onTestFinished, test } from 'vitest'
import { readableLog } from './support/log.ts'
import { runCommand } from './support/process.ts'
import { jsonOf, startService, tokenFor } from './support/service.ts'

const ISSUER = 'https://crm.example'
const pair = () => generateKeyPairSync('ec', { namedCurve: 'P-256' })
const ours = pair()
const second = pair()
const third = pair()
const jwkOf = async (key: KeyObject, kid?: string) => ({ ...(await exportJWK(key)), alg: 'ES256', use: 'sig', kid })
const tokenBy = (key: KeyObject, { kid, sub = 'telecaller-a', iss = ISSUER }: Record<string, string> = {}) =>
  new SignJWT({ sub, iss, exp: Math.floor(Date.now() / 1000) + 3_600 })
    .setProtectedHeader({ alg: 'ES256', ...(kid !== undefined && { kid }) })
    .sign(key)

const rsa = () => exportJWK(generateKeyPairSync('rsa', { modulusLength: 2_048 }).publicKey)

async function folder(): Promise<string> {
  const made = await mkdtemp(path.join(tmpdir(), 'keys-'))
  onTestFinished(() => rm(made, { recursive: true }))
  return made
}

/** A server of keys that answers as it is told. */
async function keyServer(listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/jwks.json`
}

const withKeys = (env: Record<string, string>) => startService({ env: { RECORDINGS_JWT_SECRET: '', ...env } })

test('the log says which check a token failed; the client hears that it is not valid, and the token is nowhere', async () => {
  const { log, lines } = readableLog()
  const service = await startService({ log, env: { RECORDINGS_JWT_ISSUER: ISSUER, RECORDINGS_JWT_AUDIENCE: 'calls' } })
  const good = { sub: 'a', iss: ISSUER, aud: 'calls' }
  const unsigned = [{ alg: 'none' }, good].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
  const cases: [string | undefined, string | RegExp][] = [
    [
      await tokenFor({ ...good, iss: 'https://old.example' }),
      'iss: it is "https://old.example", expected "https://crm.example"',
    ],
    [await tokenFor({ ...good, iss: undefined }), 'iss: it is missing, expected "https://crm.example"'],
    [await tokenFor({ ...good, aud: 'mail' }), 'aud: it is "mail", expected "calls"'],
    [await tokenFor({ ...good, exp: undefined }), 'exp: it is missing'],
    [await tokenFor({ ...good, exp: 1 }), 'exp: it was 1'],
    [await tokenFor({ ...good, sub: undefined }), 'sub: it is missing'],
    [await tokenFor({ ...good, sub: '' }), /^sub: it is not 1 to 255/],
    [await tokenFor({ ...good, role: 'boss' }), /^role: it is none of telecaller/],
    [await tokenFor({ ...good, nbf: 9_999_999_999 }), 'nbf: it is 9999999999'],
    [await tokenFor(good, 'x'.repeat(40)), 'signature: made with another key (alg "HS256", kid missing)'],
    [`${unsigned.join('.')}.`, 'alg: it is "none", expected HS256'],
    ['no-token', /^form: /],
    [undefined, 'Authorization: missing'],
  ]
  for (const [token, reason] of cases) {
    const res = await service.api('GET', '/api/leads/x/recordings', { token: token ?? null })
    const { code, error } = await jsonOf(res)
    expect(res.status).toBe(401)
    expect([code, error]).toEqual(
      token === undefined
        ? ['unauthenticated', 'A bearer token is required.']
        : reason === 'exp: it was 1'
          ? ['token_expired', 'The token has expired.']
          : ['unauthenticated', 'The token is not valid.'],
    )
    const line = await lineOf(lines, res.headers.get('x-request-id'))
    expect(line.reason).toEqual(typeof reason === 'string' ? reason : expect.stringMatching(reason))
    if (token !== undefined && token.length > 20) expect(JSON.stringify(line)).not.toContain(token.slice(-20))
  }
  expect((await service.api('GET', '/api/leads/x/recordings', { token: await tokenFor(good) })).status).toBe(404)
})

/** The line of a request comes when all of it is over. */
async function lineOf(lines: Record<string, unknown>[], id: string | null): Promise<Record<string, unknown>> {
  for (;;) {
    const found = lines.find(({ requestId }) => requestId === id)
    if (found) return found
    await new Promise(setImmediate)
  }
}

describe('keys from an address', () => {
  const set = async () => JSON.stringify({ keys: [await jwkOf(ours.publicKey, 'a')] })
  const broken: [string, RequestListener][] = [
    ['HTML', (_req, res) => res.setHeader('Content-Type', 'text/html').end('<html>Sign in</html>')],
    ['nothing', (_req, res) => res.end()],
    ['{}', (_req, res) => res.end('{}')],
    ['an empty list', (_req, res) => res.end('{"keys":[]}')],
    ['null', (_req, res) => res.end('null')],
    ['keys that are none', (_req, res) => res.end('{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA","kid":"a"}]}')],
    ['half of it', async (_req, res) => void res.end((await set()).slice(0, 60))],
    [
      'half of it, and a cut line',
      async (_req, res) => {
        const text = await set()
        res.setHeader('Content-Length', text.length)
        res.write(text.slice(0, 60), () => res.destroy())
      },
    ],
    ['an error', (_req, res) => res.writeHead(500).end()],
    ['another address', (_req, res) => res.writeHead(302, { Location: 'https://login.example/' }).end()],
    ['a reset', (req) => req.socket.resetAndDestroy()],
  ]
  test.for(broken)('that answers with %s: 503 and when to come back, until it is mended', async ([, listener]) => {
    let answer = listener
    const url = await keyServer((req, res) => answer(req, res))
    const service = await withKeys({ RECORDINGS_JWKS_URL: url })
    const token = await tokenBy(ours.privateKey, { kid: 'a' })
    const look = () => service.api('GET', '/api/leads/x/recordings', { token })
    const res = await look()
    expect([res.status, (await jsonOf(res)).code]).toEqual([503, 'unavailable'])
    expect(Number(res.headers.get('retry-after'))).toBeGreaterThan(0)
    expect((await service.api('HEAD', '/api/leads/x/recordings/y', { token })).status).toBe(503)
    answer = async (_req, res) => void res.end(await set())
    expect((await look()).status).toBe(404)
  })

  test('a token of a key that is not in the set is 401, not 503', async () => {
    const url = await keyServer(async (_req, res) => void res.end(await set()))
    const service = await withKeys({ RECORDINGS_JWKS_URL: url })
    const status = async (token: string) => (await service.api('GET', '/api/leads/x/recordings', { token })).status
    expect(await status(await tokenBy(ours.privateKey, { kid: 'b' }))).toBe(401)
    expect(await status(await tokenBy(second.privateKey, { kid: 'a' }))).toBe(401)
    expect(await status(await tokenFor({ sub: 'a' }))).toBe(401)
    expect(await status('no.token.atall')).toBe(401)
    expect(await status(await tokenBy(ours.privateKey))).toBe(404)
  })
})

test('several keys and a token that names none: each is tried in turn', async () => {
  const file = path.join(await folder(), 'keys.json')
  const keys = await Promise.all([ours, second].map(({ publicKey }, i) => jwkOf(publicKey, `key-${i}`)))
  const unreadable = { kty: 'EC', crv: 'P-256', x: 'AA', y: 'AA', alg: 'ES256' }
  // With the mark that some editors put in front.
  await writeFile(file, `\uFEFF${JSON.stringify({ keys: [unreadable, ...keys] })}`)
  const service = await withKeys({ RECORDINGS_JWKS_FILE: file, RECORDINGS_JWT_ISSUER: ISSUER })
  const status = async (token: string) => (await service.api('GET', '/api/leads/x/recordings', { token })).status
  expect(await status(await tokenBy(ours.privateKey))).toBe(404)
  expect(await status(await tokenBy(second.privateKey))).toBe(404)
  expect(await status(await tokenBy(second.privateKey, { kid: 'key-1' }))).toBe(404)
  expect(await status(await tokenBy(third.privateKey))).toBe(401)
  expect(await status(await tokenBy(ours.privateKey, { kid: 'key-1' }))).toBe(401)
  expect(await status(await tokenBy(ours.privateKey, { iss: 'https://old.example' }))).toBe(401)
})

describe('a file of keys that can be used for nothing keeps the server from starting, in one sentence', () => {
  const cases: [string, () => string | undefined | Promise<string>, RegExp][] = [
    ['missing', () => undefined, /it can't be read \(ENOENT\): expected a JSON Web Key Set/],
    ['empty', () => '', /it is empty: expected a JSON Web Key Set/],
    ['half', () => '{"keys":[{"kty"', /it is no JSON: expected/],
    ['PEM', () => ours.publicKey.export({ type: 'spki', format: 'pem' }).toString(), /it is PEM: expected/],
    ['null', () => 'null', /it has no list of keys/],
    ['one key alone', async () => JSON.stringify(await jwkOf(ours.publicKey)), /it has no list of keys: expected/],
    ['no keys', () => '{"keys":[]}', /its list of keys is empty: expected one or more public keys/],
    ['a list of text', () => '{"keys":["a"]}', /a key in it is no object/],
    ['a key without its point', () => '{"keys":[{"kty":"EC","crv":"P-256"}]}', /a key in it can't be used/],
    ...(['!!', '', 'AQAB', 'a b', 5] as const).map((n): [string, () => Promise<string>, RegExp] => [
      `a modulus ${JSON.stringify(n)}`,
      async () => JSON.stringify({ keys: [{ ...(await rsa()), n }] }),
      /a key in it can't be used \(its (n is no Base64|modulus n has 17 bits, fewer than 2048)\): expected public keys/,
    ]),
    ...['!!', 'AQ', 'BA', ''].map((e): [string, () => Promise<string>, RegExp] => [
      `an exponent ${JSON.stringify(e)}`,
      async () => JSON.stringify({ keys: [{ ...(await rsa()), e }] }),
      /a key in it can't be used \(its e is no (Base64|exponent)\): expected public keys/,
    ]),
    [
      'a point that is garbled',
      async () => {
        const point = await jwkOf(generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey)
        return JSON.stringify({ keys: [{ ...point, x: `${point.x}!` }] })
      },
      /a key in it can't be used \(its x is no Base64\)/,
    ],
    [
      'a private key',
      async () => JSON.stringify({ keys: [await jwkOf(ours.publicKey), await jwkOf(ours.privateKey)] }),
      /a key in it is a secret or a private one: expected public keys/,
    ],
  ]
  test.for(cases)('%s', async ([, content, sentence]) => {
    const file = path.join(await folder(), 'keys.json')
    const text = await content()
    if (text !== undefined) await writeFile(file, text)
    const started = withKeys({ RECORDINGS_JWKS_FILE: file })
    await expect(started).rejects.toThrow(sentence)
    await expect(started).rejects.toMatchObject({ name: 'ConfigError' })
    await expect(started).rejects.not.toThrow(/"d"/)
  })

  test('and what is printed is that sentence, without a stack', async () => {
    const dir = await folder()
    const { code, stdout, stderr } = await runCommand(['start'], {
      dir,
      env: { RECORDINGS_JWT_SECRET: '', RECORDINGS_JWKS_FILE: path.join(dir, 'none.json') },
    })
    expect(code).toBe(1)
    expect(`${stdout}${stderr}`).toMatch(
      /^The settings have a fault:\n {2}RECORDINGS_JWKS_FILE is `.*none\.json`: it can't be read/,
    )
    expect(`${stdout}${stderr}`).not.toMatch(/\n\s+at /)
  })
})

/**
 * Who is asking: the bearer token of a request, checked.
 *
 * Tokens are JWTs (RFC 7519) with pinned algorithms; `sub` and `exp` are required. Verified tokens are remembered by
 * their hash until they expire, five minutes at most, so that a phone's hundred chunks cost one verification. What the
 * caller may do is not asked here.
 */

import { hash, randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import {
  createLocalJWKSet,
  createRemoteJWKSet,
  type JWTPayload,
  type JWTVerifyGetKey,
  errors as joseErrors,
  jwtVerify,
} from 'jose'
import type { Clock } from '../clock.ts'
import type { Config } from '../config/config.ts'
import { passing, ServiceError } from '../errors.ts'
import { isId } from '../ids.ts'
import { type Caller, ROLES, type Role } from '../leads/rights.ts'

const CLOCK_TOLERANCE_SECONDS = 30
const REMEMBERED_TOKENS = 10_000
const REMEMBER_MS = 5 * 60_000

export interface Tokens {
  /** @throws ServiceError `unauthenticated`, `token_expired` with `WWW-Authenticate` (RFC 6750 §3); `unavailable` */
  authenticate(authorization: string | undefined): Promise<Caller>
}

const challenge = (code: 'unauthenticated' | 'token_expired', sentence: string, invalid: boolean, cause?: unknown) =>
  new ServiceError(code, sentence, {
    cause,
    headers: {
      'WWW-Authenticate': invalid
        ? `Bearer realm="call-recordings", error="invalid_token", error_description="${sentence}"`
        : 'Bearer realm="call-recordings"',
    },
  })

/** A secret kept in a file (mode 0600), made where it is missing. */
export async function keptSecret(file: string): Promise<Uint8Array> {
  try {
    await writeFile(file, randomBytes(32).toString('base64url'), { mode: 0o600, flag: 'wx' })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
  const secret = new TextEncoder().encode((await readFile(file, 'utf8')).trim())
  if (secret.length < 32)
    throw new Error(`the secret in ${file} is shorter than 32 bytes; remove the file to have a new one made`)
  return secret
}

async function verificationKey(config: Config['auth']): Promise<Uint8Array | JWTVerifyGetKey> {
  switch (config.key.kind) {
    case 'secret':
      return config.key.secret
    case 'made':
      return keptSecret(config.key.file)
    case 'jwks-url':
      return createRemoteJWKSet(config.key.url)
    case 'jwks-file':
      return createLocalJWKSet(JSON.parse(await readFile(config.key.file, 'utf8')))
  }
}

export async function createTokens(config: Config['auth'], clock: Clock): Promise<Tokens> {
  const key = await verificationKey(config)
  const remembered = new Map<string, { caller: Caller; untilMs: number }>()

  function callerFrom(payload: JWTPayload): Caller {
    const role = payload.role ?? 'telecaller'
    if (!isId(payload.sub)) throw challenge('unauthenticated', 'The token names no caller (sub).', true)
    if (!ROLES.includes(role as Role)) throw challenge('unauthenticated', 'The role in the token is unknown.', true)
    return { id: payload.sub, role: role as Role }
  }

  async function verify(token: string): Promise<JWTPayload> {
    const options = {
      algorithms: [...config.algorithms],
      requiredClaims: ['sub', 'exp'],
      clockTolerance: CLOCK_TOLERANCE_SECONDS,
      currentDate: new Date(clock.now()),
      ...(config.issuer !== undefined && { issuer: config.issuer }),
      ...(config.audience !== undefined && { audience: config.audience }),
    }
    try {
      // The two overloads differ in the key alone.
      const { payload } =
        typeof key === 'function' ? await jwtVerify(token, key, options) : await jwtVerify(token, key, options)
      return payload
    } catch (error) {
      if (error instanceof joseErrors.JWTExpired)
        throw challenge('token_expired', 'The token has expired.', true, error)
      const keysOutOfReach =
        error instanceof joseErrors.JWKSTimeout || (error instanceof TypeError && config.key.kind === 'jwks-url')
      if (keysOutOfReach || (error as Error).message?.startsWith('Expected 200 OK')) {
        throw passing(
          'unavailable',
          'The keys that tokens are checked with are out of reach; try again shortly.',
          error,
        )
      }
      throw challenge('unauthenticated', 'The token is not valid.', true, error)
    }
  }

  async function authenticate(authorization: string | undefined): Promise<Caller> {
    if (authorization === undefined) throw challenge('unauthenticated', 'A bearer token is required.', false)
    const token = /^Bearer +([^\s]+) *$/i.exec(authorization)?.[1]
    if (token === undefined) throw challenge('unauthenticated', 'The Authorization header holds no bearer token.', true)
    const digest = hash('sha256', token, 'base64')
    const known = remembered.get(digest)
    if (known && known.untilMs > clock.now()) return known.caller
    const payload = await verify(token)
    const caller = callerFrom(payload)
    const expiresAtMs = ((payload.exp ?? 0) + CLOCK_TOLERANCE_SECONDS) * 1000
    remembered.delete(digest)
    if (remembered.size >= REMEMBERED_TOKENS) {
      for (const oldest of remembered.keys()) {
        remembered.delete(oldest)
        break
      }
    }
    remembered.set(digest, { caller, untilMs: Math.min(expiresAtMs, clock.now() + REMEMBER_MS) })
    return caller
  }

  return { authenticate }
}

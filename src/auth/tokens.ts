/**
 * Who is asking: the bearer token of a request, checked.
 *
 * Tokens are JWTs (RFC 7519) with pinned algorithms; `sub` and `exp` are required. Verified tokens are remembered by
 * their hash until they expire, five minutes at most, so that a phone's hundred chunks cost one verification. What the
 * caller may do is not asked here.
 */

import { hash } from 'node:crypto'
import { type createRemoteJWKSet, type JWTPayload, type JWTVerifyGetKey, errors as joseErrors, jwtVerify } from 'jose'
import type { Clock } from '../clock.ts'
import type { Config } from '../config/config.ts'
import { passing, ServiceError } from '../errors.ts'
import { isCallerId } from '../ids.ts'
import { type Caller, ROLES, type Role } from '../leads/rights.ts'
import { failedCheck } from './failed-check.ts'
import { keysOf } from './keys.ts'
import { NewestRoles } from './newest-roles.ts'

const CLOCK_TOLERANCE_SECONDS = 30
const REMEMBERED_TOKENS = 10_000
const REMEMBER_MS = 5 * 60_000

export interface Tokens {
  /** @throws ServiceError `unauthenticated`, `token_expired` with `WWW-Authenticate` (RFC 6750 §3); `unavailable` */
  authenticate(authorization: string | undefined): Promise<Caller>
  /** A caller of earlier, with the role that they have today as far as it is known. */
  asOfToday(caller: Caller): Caller
  /** Rejects when tokens can't be checked just now: the set of keys is not known, and can't be had. */
  atHand(): Promise<void>
}

/** Whether a request brings a login: another scheme beside a playback link is somebody else's business. */
export const isBearer = (authorization: string | undefined): authorization is string =>
  authorization !== undefined && /^Bearer(?: |$)/i.test(authorization)

const challenge = (code: 'unauthenticated' | 'token_expired', sentence: string, invalid: boolean, cause?: unknown) =>
  new ServiceError(code, sentence, {
    cause,
    headers: {
      'WWW-Authenticate': invalid
        ? `Bearer realm="call-recordings", error="invalid_token", error_description="${sentence}"`
        : 'Bearer realm="call-recordings"',
    },
  })

/** The sentence is the same for every fault; the reason is for the log. */
const notValid = (reason: string, cause?: unknown) =>
  challenge('unauthenticated', 'The token is not valid.', true, new Error(reason, { cause }))

/** The faults that are the token's own; with a set of keys, all others are the set's. */
const TOKEN_FAULTS = [
  joseErrors.JWTClaimValidationFailed,
  joseErrors.JWTExpired,
  joseErrors.JWTInvalid,
  joseErrors.JWSInvalid,
  joseErrors.JWSSignatureVerificationFailed,
  joseErrors.JOSEAlgNotAllowed,
  joseErrors.JOSENotSupported,
  joseErrors.JWKSNoMatchingKey,
]

/** Keys that were not to be had, or none of them to be read. */
const isFaultOfKeys = (error: unknown): boolean => !TOKEN_FAULTS.some((fault) => error instanceof fault)

type Keys = Awaited<ReturnType<typeof keysOf>>
type RemoteKeys = ReturnType<typeof createRemoteJWKSet>

const isRemote = (keys: Keys): keys is RemoteKeys => typeof keys === 'function' && 'reload' in keys

/** So many characters of a name are remembered with a token. */
const MAX_NAME_LENGTH = 255

const nameIn = ({ name }: JWTPayload): string | undefined =>
  typeof name === 'string' && name !== '' ? name.slice(0, MAX_NAME_LENGTH).toWellFormed() : undefined

type VerifyOptions = NonNullable<Parameters<typeof jwtVerify>[2]>

/** A token that names no key is tried with each that may be meant. */
async function verifiedWith(keys: JWTVerifyGetKey, token: string, options: VerifyOptions): Promise<JWTPayload> {
  try {
    return (await jwtVerify(token, keys, options)).payload
  } catch (error) {
    if (!(error instanceof joseErrors.JWKSMultipleMatchingKeys)) throw error
    let last: unknown = new joseErrors.JWKSInvalid('no key of the set can be read')
    for await (const key of error) {
      try {
        return (await jwtVerify(token, key, options)).payload
      } catch (refusal) {
        last = refusal
        if (!(refusal instanceof joseErrors.JWSSignatureVerificationFailed)) break
      }
    }
    throw last
  }
}

export async function createTokens(config: Config['auth'], clock: Clock): Promise<Tokens> {
  const keys = await keysOf(config.key)
  const remembered = new Map<string, { caller: Caller; fromMs: number; untilMs: number }>()
  const roles = new NewestRoles()

  function callerFrom(payload: JWTPayload): Caller {
    const role = payload.role ?? 'telecaller'
    if (!isCallerId(payload.sub)) throw notValid('sub: it is not 1 to 255 characters without control characters')
    if (!ROLES.includes(role as Role)) throw notValid(`role: it is none of ${ROLES.join(', ')}`)
    const name = nameIn(payload)
    return { id: payload.sub, role: role as Role, ...(name !== undefined && { name }) }
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
      if (typeof keys === 'function') return await verifiedWith(keys, token, options)
      return (await jwtVerify(token, keys, options)).payload
    } catch (error) {
      if (typeof keys === 'function' && isFaultOfKeys(error)) {
        throw passing(
          'unavailable',
          'The keys that tokens are checked with are out of reach; try again shortly.',
          error,
        )
      }
      const reason = failedCheck(error, token, config)
      if (!(error instanceof joseErrors.JWTExpired)) throw notValid(reason, error)
      throw challenge('token_expired', 'The token has expired.', true, new Error(reason, { cause: error }))
    }
  }

  async function authenticate(authorization: string | undefined): Promise<Caller> {
    if (authorization === undefined) {
      throw challenge('unauthenticated', 'A bearer token is required.', false, new Error('Authorization: missing'))
    }
    const token = /^Bearer +([^\s]+) *$/i.exec(authorization)?.[1]
    if (token === undefined) {
      const cause = new Error('Authorization: no bearer token in it')
      throw challenge('unauthenticated', 'The Authorization header holds no bearer token.', true, cause)
    }
    const digest = hash('sha256', token, 'base64')
    const known = remembered.get(digest)
    const nowMs = clock.now()
    // A clock that was set back is no reason to trust a token for longer.
    if (known && known.fromMs <= nowMs && nowMs < known.untilMs) return known.caller
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
    remembered.set(digest, { caller, fromMs: nowMs, untilMs: Math.min(expiresAtMs, nowMs + REMEMBER_MS) })
    roles.saw(caller, Math.min(payload.iat ?? Number.POSITIVE_INFINITY, nowMs / 1000))
    return caller
  }

  return {
    authenticate,
    asOfToday: ({ id, role }) => ({ id, role: roles.of(id) ?? role }),
    async atHand() {
      if (isRemote(keys) && !keys.fresh) await keys.reload()
    },
  }
}

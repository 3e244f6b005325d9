/**
 * Who is asking, and may they touch this lead.
 *
 * Tokens are JWTs (RFC 7519) with pinned algorithms; `sub` and `exp` are required. Verified tokens are remembered by
 * their hash until they expire, five minutes at most, so that a phone's hundred chunks cost one verification.
 * Ownership is never remembered: it is asked of the database on every request.
 */

import { hash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { eq, sql } from 'drizzle-orm'
import type { Request, RequestHandler, Response } from 'express'
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
import { keptSecret } from '../config/kept-secret.ts'
import type { Database } from '../db/database.ts'
import { type Lead, leads } from '../db/schema.ts'
import { passing, ServiceError } from '../errors.ts'
import { isId } from '../ids.ts'

export const ROLES = ['telecaller', 'supervisor', 'service'] as const
export type Role = (typeof ROLES)[number]

export interface Caller {
  id: string
  role: Role
}

/** What a caller wants of a lead: `upload` brings bytes in, `use` lists, plays and deletes, `write` changes the lead itself. */
export type Act = 'upload' | 'use' | 'write'

const CLOCK_TOLERANCE_SECONDS = 30
const REMEMBERED_TOKENS = 10_000
const REMEMBER_MS = 5 * 60_000

export interface Auth {
  /** @throws ServiceError `unauthenticated`, `token_expired` with `WWW-Authenticate` (RFC 6750 §3) */
  authenticate(authorization: string | undefined): Promise<Caller>
  /** The lead, if the caller may do this to it. @throws ServiceError 403 or 404 as the contract says */
  leadFor(caller: Caller, leadId: string, act: Act): Promise<Lead>
  /** Express middleware: settles who is asking before anything else of the route runs. */
  required: RequestHandler
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

/** The caller that `required` found; only for handlers behind it. */
export function callerOf(res: Response): Caller {
  const { caller } = res.locals as { caller?: Caller }
  if (!caller) throw new Error('callerOf: the route is not behind auth.required')
  return caller
}

/** For whoever has the lead's row already. @throws ServiceError 403 unless the caller may do this to it */
export function assertMay(caller: Caller, lead: Pick<Lead, 'telecallerId'>, act: Act): void {
  if (caller.role === 'telecaller' && lead.telecallerId !== caller.id) {
    throw new ServiceError('not_your_lead', 'This lead belongs to another telecaller.')
  }
  if (caller.role === 'supervisor' && act === 'upload') {
    throw new ServiceError('forbidden', 'A supervisor listens to recordings and uploads none.')
  }
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

export async function createAuth(config: Config['auth'], db: Database, clock: Clock): Promise<Auth> {
  const key = await verificationKey(config)
  const remembered = new Map<string, { caller: Caller; untilMs: number }>()
  const leadById = db.orm
    .select()
    .from(leads)
    .where(eq(leads.id, sql.placeholder('id')))
    .prepare()

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

  async function leadFor(caller: Caller, leadId: string, act: Act): Promise<Lead> {
    if (act === 'write' && caller.role !== 'service') {
      throw new ServiceError('forbidden', 'Only the CRM itself may write leads and call logs.')
    }
    const lead = isId(leadId) ? await leadById.get({ id: leadId }) : undefined
    if (!lead) throw new ServiceError('lead_not_found', 'There is no such lead.')
    assertMay(caller, lead, act)
    return lead
  }

  const required: RequestHandler = async (req: Request, res: Response, next) => {
    res.locals.caller = await authenticate(req.headers.authorization)
    next()
  }

  return { authenticate, leadFor, required }
}

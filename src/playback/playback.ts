/**
 * Playback: a recording's bytes to those who may hear it (RFC 9110), and the links that players use.
 *
 * One row → rights → preconditions → range → bytes. Behind nginx the service decides, and nginx sends what needs no
 * further judgement.
 */
import { randomUUID } from 'node:crypto'
import { json, type Request, type Response, Router } from 'express'
import { z } from 'zod'
import { callerOf, required } from '../auth/required.ts'
import { isBearer, type Tokens } from '../auth/tokens.ts'
import type { Clock } from '../clock.ts'
import type { Config } from '../config/config.ts'
import type { Database } from '../db/database.ts'
import { type Playable, playableById } from '../db/recordings.ts'
import { ServiceError } from '../errors.ts'
import type { Events } from '../events.ts'
import { letBody } from '../http/early-answers.ts'
import { wholeNumber } from '../http/plain-words.ts'
import { reprDigest } from '../http/repr-digest.ts'
import { addressOf, bodyOf, checked, queryOf, takesNoQuery } from '../http/request.ts'
import { isId } from '../ids.ts'
import { assertMay, type Caller, leadFor } from '../leads/rights.ts'
import { recordingPath } from '../recordings/recordings.ts'
import { type Bytes, TruncatedBytes } from '../storage/bytes.ts'
import type { Library } from '../storage/library.ts'
import { contentDisposition } from './disposition.ts'
import type { PlaybackLinks } from './links.ts'
import { evaluatePreconditions, rangeApplies } from './preconditions.ts'
import { contentRange, multipartOf, selectRanges } from './range.ts'
import { redirect, storeAddress } from './redirect.ts'
import { type Segment, sendSegments } from './send.ts'

const PATH = '/api/leads/:leadId/recordings/:recordingId'

/** A link asked for by name of its time lives no longer than this, or than the setting where that is longer. */
const MAX_LINK_SECONDS = 3_600

/**
 * To be kept by the listener's own browser, and asked for again at each use: rights may have ended. A proxy
 * may not recode the bytes, since ranges count them.
 */
const CACHE_CONTROL = 'private, no-cache, no-transform'

/** Opened by itself, a recording may play, and do nothing else: whatever its bytes are, no script of theirs runs. */
const CONTENT_SECURITY_POLICY = "default-src 'none'; media-src 'self'; style-src 'unsafe-inline'; sandbox"

/** A single range that nginx reads as we do; it gives up on numbers beyond 2^63. */
const RANGE_FOR_NGINX = /^bytes=(\d{1,15}-\d{0,15}|-\d{1,15})$/i

export const playbackQuery = z.strictObject({
  /** Of a playback link. */
  token: z.string().optional(),
  /** Whatever its value: to be saved, not played. */
  download: z.string().optional(),
})

export const playbackLinkBody = z.strictObject({
  /** Longer than the service allows is shortened; `expires_at` tells. */
  expires_in_seconds: wholeNumber(1).optional(),
})

export const playbackLinkAnswer = z
  .object({ url: z.string().describe('An address for `<audio src>`.'), expires_at: z.iso.datetime() })
  .meta({ id: 'PlaybackLink' })

interface Parts {
  config: Config
  db: Database
  tokens: Tokens
  library: Library
  links: PlaybackLinks
  events: Events
  clock: Clock
}

/** An alias, since Express wants its parameters indexable. */
type Params = { leadId: string; recordingId: string }

export function playbackRoutes(parts: Parts): Router {
  const { tokens } = parts
  // Whole paths instead of a mount: each level of routers costs a request as much as its row.
  const router = Router()
  router.get<Params>(PATH, (req, res) => play(parts, req, res))
  router.post<Params>(
    `${PATH}/playback-links`,
    letBody,
    required(tokens),
    takesNoQuery,
    json({ limit: '16kb' }),
    (req, res) => makeLink(parts, req, res),
  )
  return router
}

/** The recording, if `caller` may hear it now. @throws ServiceError 403 or 404 as the contract says */
async function recordingFor({ db }: Parts, caller: Caller, { leadId, recordingId }: Params): Promise<Playable> {
  const found = isId(recordingId) ? await playableById(db, recordingId) : undefined
  if (found?.leadId === leadId) {
    assertMay(caller, found, 'use')
    return found
  }
  await leadFor(db, caller, leadId, 'use')
  throw new ServiceError('recording_not_found', 'There is no such recording with this lead.')
}

/** Who is asking: by a login, or else by a playback link. */
async function listener({ tokens, links }: Parts, req: Request<Params>, token: string | undefined): Promise<Caller> {
  if (!isBearer(req.headers.authorization) && token !== undefined) {
    return tokens.asOfToday(await links.verify(token, req.params.recordingId))
  }
  return tokens.authenticate(req.headers.authorization)
}

/** The alarm, and 404: bytes that were promised are gone, all of them or some. */
function missing({ events }: Parts, { id, leadId, path }: Playable, cause?: unknown): ServiceError {
  const what = cause instanceof TruncatedBytes ? 'recordingFileDamaged' : 'recordingFileMissing'
  events[what]({ recordingId: id, leadId, path })
  const sentence = 'The bytes of this recording are gone; the fault has been logged.'
  return new ServiceError('recording_file_missing', sentence, { cause })
}

async function acquire(parts: Parts, recording: Playable): Promise<Bytes> {
  let bytes: Bytes
  try {
    bytes = await parts.library.acquire(recording.path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw missing(parts, recording, error)
    throw error
  }
  if (bytes.size === recording.size) return bytes
  bytes.release()
  throw missing(parts, recording, new TruncatedBytes(`${bytes.size} bytes are there of ${recording.size}`))
}

/** Handed the file a moment ago, nginx could not send it; it lets no client say so. */
function hasNginxFailed({ events }: Parts, { headers }: Request<Params>, { id, leadId, path }: Playable): boolean {
  if (headers['x-accel-failed'] === undefined) return false
  events.nginxCouldNotSend({ recordingId: id, leadId, path })
  return true
}

/** What is said of the recording in every answer, and what conditions are judged by. */
function validatorsOf({ config, clock }: Parts, recording: Playable) {
  const nowMs = clock.now()
  // A clock may have been set back since (RFC 9110 §8.8.2.1).
  const lastModifiedMs = Math.min(recording.createdAtMs, nowMs)
  const stored = { etag: `"${recording.sha256}"`, lastModifiedMs }
  const common = {
    // Node's own is up to a second old, or more under load: older than what was recorded just now.
    Date: new Date(nowMs).toUTCString(),
    ETag: stored.etag,
    'Last-Modified': new Date(lastModifiedMs).toUTCString(),
    'Cache-Control': CACHE_CONTROL,
    // `<audio>` asks without CORS; this header alone says whether a page elsewhere may use the answer.
    'Cross-Origin-Resource-Policy': config.cors.length > 0 ? 'cross-origin' : 'same-origin',
  }
  return { nowMs, stored, common }
}

const conditionsOf = (headers: Request['headers']) => ({
  ifMatch: headers['if-match'],
  ifNoneMatch: headers['if-none-match'],
  ifModifiedSince: headers['if-modified-since'],
  ifUnmodifiedSince: headers['if-unmodified-since'],
})

async function play(parts: Parts, req: Request<Params>, res: Response): Promise<void> {
  const { token, download } = req.url.includes('?') ? queryOf(playbackQuery, req) : {}
  const caller = await listener(parts, req, token)
  res.locals.caller = caller
  const recording = await recordingFor(parts, caller, req.params)
  const { nowMs, stored, common } = validatorsOf(parts, recording)
  const disposition = contentDisposition(recording.filename, download === undefined ? 'inline' : 'attachment')
  const address = await storeAddress(parts, req, recording, { disposition, cacheControl: CACHE_CONTROL })
  if (address !== undefined) {
    redirect(res, address, { Date: common.Date, 'Referrer-Policy': 'no-referrer' })
    return
  }
  const verdict = evaluatePreconditions(conditionsOf(req.headers), stored, nowMs)
  if (verdict === 412) throw new ServiceError('precondition_failed', 'The recording is not the one you expect.')
  if (verdict === 304) {
    res.writeHead(304, common).end()
    return
  }
  const isRanged = req.method !== 'HEAD' && rangeApplies(req.headers['if-range'] as string | undefined, stored, nowMs)
  const ranges = isRanged ? selectRanges(req.headers.range, recording.size) : undefined
  await answer(parts, req, res, recording, ranges, {
    ...common,
    'Content-Type': recording.contentType,
    'Content-Disposition': disposition,
    'Repr-Digest': reprDigest(recording.sha256),
    'Content-Security-Policy': CONTENT_SECURITY_POLICY,
    'Referrer-Policy': 'no-referrer',
  })
}

/** The head alone, an order to nginx, or the bytes. */
async function answer(
  parts: Parts,
  req: Request<Params>,
  res: Response,
  recording: Playable,
  ranges: Ranges,
  described: Record<string, string>,
): Promise<void> {
  const { accelRedirect } = parts.config.playback
  const bytes = await acquire(parts, recording)
  try {
    const ranged = { ...described, 'Accept-Ranges': 'bytes' }
    if (req.method === 'HEAD') {
      res.writeHead(200, { ...ranged, 'Content-Length': recording.size }).end()
    } else if (accelRedirect !== undefined && isForNginx(req.headers) && !hasNginxFailed(parts, req, recording)) {
      const address = accelRedirect + recording.path.split('/').map(encodeURIComponent).join('/')
      // nginx says `Accept-Ranges` by itself in a 200, and never in a 206. It keeps the connection to us only after
      // a body of a length that it is told.
      const head = { ...(ranges ? ranged : described), 'X-Accel-Redirect': address, 'Content-Length': 0 }
      res.writeHead(200, head).end()
    } else {
      await send(res, bytes, recording, ranges, ranged)
    }
  } catch (error) {
    // A store of objects holds none that is removed while somebody listens.
    const isGone = (error as NodeJS.ErrnoException).code === 'ENOENT'
    if (error instanceof TruncatedBytes || isGone) throw missing(parts, recording, error)
    throw error
  } finally {
    bytes.release()
  }
}

async function makeLink(parts: Parts, req: Request<Params>, res: Response): Promise<void> {
  const { config, links } = parts
  const caller = callerOf(res)
  const recording = await recordingFor(parts, caller, req.params)
  const { expires_in_seconds } = checked(playbackLinkBody, bodyOf(req))
  const defaultSeconds = Math.max(1, Math.floor(config.playback.linkExpiresAfterMs / 1000))
  const seconds = Math.min(expires_in_seconds ?? defaultSeconds, Math.max(MAX_LINK_SECONDS, defaultSeconds))
  const { token, expiresAtMs } = await links.make(caller, recording.id, seconds)
  const path = `${recordingPath(recording.leadId, recording.id)}?token=${token}`
  const answer: z.infer<typeof playbackLinkAnswer> = {
    url: addressOf(req, config.publicUrl, path),
    expires_at: new Date(expiresAtMs).toISOString(),
  }
  res.status(201).set('Cache-Control', 'no-store').json(answer)
}

type Ranges = ReturnType<typeof selectRanges>

/** The whole recording, one range of it, or several in one body (RFC 9110 §15.3.1, §15.3.7). */
async function send(
  res: Response,
  bytes: Bytes,
  { size, contentType }: Playable,
  ranges: Ranges,
  described: Record<string, string>,
): Promise<void> {
  const several = ranges && ranges.length > 1 ? multipartOf(ranges, size, contentType, randomUUID()) : undefined
  if (several) {
    const segments: Segment[] = several.parts.flatMap((part) => [part.head, part])
    const head = { ...described, 'Content-Type': several.contentType, 'Content-Length': several.length }
    return sendSegments(res, () => res.writeHead(206, head), bytes, [...segments, several.tail])
  }
  const [range] = ranges?.length === 1 ? ranges : []
  if (range) {
    const head = {
      ...described,
      'Content-Length': range.end - range.start + 1,
      'Content-Range': contentRange(range, size),
    }
    return sendSegments(res, () => res.writeHead(206, head), bytes, [range])
  }
  const head = { ...described, 'Content-Length': size }
  return sendSegments(res, () => res.writeHead(200, head), bytes, [{ start: 0, end: size - 1 }])
}

/**
 * Whether nginx, handed the file, gives the same answer: it judges `If-…` by tags and dates of its own before it
 * learns ours, and reads ranges more strictly. `If-Range` it gets right, since it compares with what we said.
 */
function isForNginx(headers: Request['headers']): boolean {
  const isConditional = ['if-match', 'if-none-match', 'if-modified-since', 'if-unmodified-since'].some(
    (name) => headers[name] !== undefined,
  )
  return !isConditional && (headers.range === undefined || RANGE_FOR_NGINX.test(headers.range))
}

/**
 * `POST /api/leads/{lead_id}/recordings`, where two doors meet: a form with a file is a simple upload, and a request with
 * an action, in JSON or in either kind of form, is the legacy door's.
 */
import { type Request, type Response, Router } from 'express'
import { callerOf, required } from '../auth/required.ts'
import type { Tokens } from '../auth/tokens.ts'
import type { Config } from '../config/config.ts'
import type { Database } from '../db/database.ts'
import { shownOf } from '../db/recordings-shown.ts'
import type { Lead } from '../db/schema.ts'
import { ServiceError, typeNotTaken } from '../errors.ts'
import { letBodyCome } from '../http/early-answers.ts'
import { assertPlain } from '../http/plain-body.ts'
import { addressOf, assertGivenOnce, assertNoQuery, checked } from '../http/request.ts'
import { isId } from '../ids.ts'
import { type Caller, leadFor } from '../leads/rights.ts'
import { recordingJson } from '../recordings/recordings.ts'
import type { Space } from '../storage/space.ts'
import type { Ingest } from '../uploads/ingest.ts'
import type { Ownership } from '../uploads/ownership.ts'
import { Bodies } from './bodies.ts'
import type { Body } from './body.ts'
import { parseContentType } from './content-type.ts'
import { IncomingForm, MAX_AROUND_BYTES, MAX_FIELD_BYTES } from './form/incoming-form.ts'
import { boundaryOf } from './form/multipart.ts'
import { type SimpleParts, SimpleUpload, simpleForm } from './form/simple-upload.ts'
import { type ActionParts, act, type Outcome } from './legacy/actions.ts'
import { type LegacyRequest, requestInForm, requestInJson, requestUrlencoded } from './legacy/requests.ts'

const TAKEN = ['application/json', 'multipart/form-data', 'application/x-www-form-urlencoded']

interface Parts {
  config: Config
  tokens: Tokens
  db: Database
  ingest: Ingest
  ownership: Ownership
  space: Space
}

/** What the two doors work with. */
interface Doors {
  db: Database
  publicUrl: URL | undefined
  bodies: Bodies
  legacy: ActionParts
  simple: SimpleParts
  /** Of a chunk in Base64, with line breaks and escapes, and what is beside it. */
  maxTextBytes: number
}

/** A request: its caller, what it is for, and where its answer goes. */
interface Context {
  req: Request
  res: Response
  caller: Caller
  lead: Lead
  /** Of the body; undefined where that is not told. */
  expectedBytes: number | undefined
  /** Aborts when the connection is gone. */
  signal: AbortSignal
}

export function recordingsPost({ config, tokens, db, ingest, ownership, space }: Parts): Router {
  const { maxBytes, maxChunkSize, chunkSize } = config.uploads
  const doors: Doors = {
    db,
    publicUrl: config.publicUrl,
    bodies: new Bodies({ staging: ingest.staging, space }),
    legacy: {
      db,
      ingest,
      chunkSize,
      maxChunkSize,
    },
    simple: { db, ingest, ownership, maxBytes },
    maxTextBytes: Math.ceil((maxChunkSize / 3) * 4 * 1.25) + MAX_FIELD_BYTES,
  }

  const router = Router({ mergeParams: true })
  router.post<{ leadId: string }>('/', required(tokens), async (req, res) => {
    const caller = callerOf(res)
    const lead = await leadFor(db, caller, req.params.leadId, 'upload')
    const { type, parameters } = parseContentType(req.headers['content-type'])
    assertPlain(req.headers)
    const context: Context = { req, res, caller, lead, expectedBytes: lengthOf(req), signal: goneSignal(res) }
    if (type === 'multipart/form-data') return takeForm(doors, context, boundaryOf(parameters))
    if (type === 'application/x-www-form-urlencoded') return takeWhole(doors, context, requestUrlencoded)
    if (type === 'application/json' && /^(utf-?8|us-ascii)?$/i.test(parameters.get('charset') ?? '')) {
      return takeWhole(doors, context, requestInJson)
    }
    throw typeNotTaken(`The body must be one of ${TAKEN.join(', ')}, in UTF-8.`, TAKEN)
  })
  return router
}

/** A body that is read whole before it is looked at: an action's. */
async function takeWhole(
  doors: Doors,
  context: Context,
  requestIn: (body: Buffer) => Promise<LegacyRequest>,
): Promise<void> {
  const { bodies, maxTextBytes } = doors
  const { req, res, caller, expectedBytes } = context
  if (expectedBytes === undefined || expectedBytes <= maxTextBytes) letBodyCome(req, res)
  const body = await bodies.read(req, caller.id, expectedBytes, maxTextBytes)
  try {
    await perform(doors, context, await requestIn(body.bytes))
  } finally {
    body.release()
  }
}

/** A form, whose file is on its way to its place before its fields are known. */
async function takeForm(doors: Doors, context: Context, boundary: string): Promise<void> {
  const { maxBytes } = doors.simple
  const { req, res, expectedBytes } = context
  if (expectedBytes !== undefined && expectedBytes > maxBytes + MAX_AROUND_BYTES) {
    throw new ServiceError('too_large', `An upload may have ${maxBytes} bytes at most.`)
  }
  const form = incomingForm(doors, context, boundary)
  let body: Body | undefined
  try {
    letBodyCome(req, res)
    await form.read(req, maxBytes + MAX_AROUND_BYTES)
    const { file, fields, repeated, chunk } = form
    if (file) {
      assertGivenOnce(repeated, simpleForm.shape)
      const recording = await file.complete(checked(simpleForm, fields).call_log_id)
      await answer(doors, context, { recording })
      return
    }
    if (fields.action === undefined) throw new ServiceError('missing_parameter', 'The form has no file.')
    body = await chunk?.gathering.end()
    await perform(doors, context, requestInForm({ params: fields, repeated }, body?.bytes, chunk?.isText))
  } catch (error) {
    await form.file?.abort()
    throw error
  } finally {
    form.chunk?.gathering.abort()
    body?.release()
  }
}

function incomingForm({ bodies, legacy, simple, maxTextBytes }: Doors, context: Context, boundary: string) {
  const { req, caller, lead, expectedBytes, signal } = context
  return new IncomingForm(boundary, {
    file(filename) {
      context.res.locals.door = 'simple'
      assertNoQuery(req)
      const idempotencyKey = req.headers['idempotency-key']
      const bytesCome = () => req.socket.bytesRead
      return new SimpleUpload(simple, { caller, lead, filename, expectedBytes, idempotencyKey, bytesCome, signal })
    },
    chunk: (isText) => bodies.gather(caller.id, expectedBytes, isText ? maxTextBytes : legacy.maxChunkSize),
  })
}

async function perform(doors: Doors, context: Context, request: LegacyRequest): Promise<void> {
  const { req, res, caller, lead, signal } = context
  const uploadId = (request.params as { upload_id?: unknown } | null)?.upload_id
  if (isId(uploadId)) res.locals.uploadId = uploadId
  const asking = { caller, lead, signal, idempotencyKey: req.headers['idempotency-key'] }
  await answer(doors, context, await act(doors.legacy, asking, request))
}

async function answer({ db, publicUrl }: Doors, { req, res }: Context, outcome: Outcome): Promise<void> {
  if ('recording' in outcome) {
    res.locals.recordingId = outcome.recording.id
    res.status(200).json(recordingJson(await shownOf(db, outcome.recording), req, publicUrl))
    return
  }
  if (outcome.path !== undefined) res.location(addressOf(req, publicUrl, outcome.path))
  res.status(outcome.status).json(outcome.json)
}

/** Aborts when the connection is gone before the answer was. */
function goneSignal(res: Response): AbortSignal {
  const gone = new AbortController()
  res.once('close', () => {
    if (!res.writableFinished) gone.abort()
  })
  return gone.signal
}

/** The `Content-Length`; undefined for a body of unknown length. */
function lengthOf(req: Request): number | undefined {
  const length = req.headers['content-length']
  return length === undefined ? undefined : Number(length)
}

/**
 * The tus door: tus 1.0 under `/api/leads/{lead_id}/uploads`.
 *
 * @tus/server is the engine; around it stands what it leaves to others: who is asking and for which lead, what an upload
 * must promise before a byte is sent, the answer's CORS and errors in our words, and the finish. Knows HTTP; knows
 * nothing of disks.
 */

import type { IncomingMessage } from 'node:http'
import { ERRORS } from '@tus/server'
import { type ErrorRequestHandler, type Request, type Response, Router } from 'express'
import { callerOf, required } from '../../auth/required.ts'
import type { Tokens } from '../../auth/tokens.ts'
import type { Config } from '../../config/config.ts'
import type { Database } from '../../db/database.ts'
import { sha256ById } from '../../db/recordings.ts'
import type { Lead, Recording, UploadRow } from '../../db/schema.ts'
import { asServiceError, ServiceError } from '../../errors.ts'
import { endAnswer, letBodyCome } from '../../http/early-answers.ts'
import { headersOf, toldOf } from '../../http/problem.ts'
import { reprDigest } from '../../http/repr-digest.ts'
import { addressOf, takesNoQuery } from '../../http/request.ts'
import { newId } from '../../ids.ts'
import { type Caller, leadFor } from '../../leads/rights.ts'
import { callLogOf } from '../../leads/routes.ts'
import { recordingPath } from '../../recordings/recordings.ts'
import type { BodyCheck } from '../../storage/disk/writer.ts'
import { isFinal, isPartial, partIdsOf } from '../../uploads/concatenation.ts'
import type { Finished } from '../../uploads/finishing.ts'
import { idempotencyOf } from '../../uploads/idempotency.ts'
import type { Ingest } from '../../uploads/ingest.ts'
import type { UploadLocker } from '../../uploads/locker.ts'
import { baseName, checkFilename } from '../filename.ts'
import { isAbandoned } from './abandon.ts'
import { CHECKSUM_ALGORITHMS, checksumOf } from './checksum.ts'
import { createEngine, type EngineRequest, send } from './engine.ts'
import {
  type Creation,
  checkParts,
  checkPatch,
  creationOf,
  forEngine,
  methodOf,
  promisedSha256,
  textOf,
} from './headers.ts'

const TUS_VERSION = '1.0.0'
const EXTENSIONS = [
  'creation',
  'creation-with-upload',
  'creation-defer-length',
  'termination',
  'expiration',
  'checksum',
  'checksum-trailer',
  'concatenation',
]

/** What is settled about a request before the engine sees it, and what comes up on the way. */
interface Context {
  req: Request
  res: Response
  caller: Caller
  lead: Lead
  /** Of a creation. */
  creation?: Creation
  /** Undefined until a creation has made it. */
  uploadId: string | undefined
  /** Of the request's body. */
  check?: BodyCheck | undefined
  /** The upload that an earlier creation under the same key has made: the engine must make none. */
  repeated?: string
  /** The upload that a creation makes, from before it is there. */
  creatingId?: string
  /** Of a creation: its repeat finds it. */
  isKeyed?: boolean
  /** A repeat of the creation was told of the upload. */
  isKnown?: boolean
  /** The line died before all had come. */
  cut?: boolean
  /** What this request has made of the upload. */
  recording?: Recording | undefined
  /** All has come, and is not a recording yet. */
  unfinished?: boolean
  error?: ServiceError
}

/**
 * Where the context hangs at the request. In a `WeakMap`, each would outlive two collections of the young heap and move
 * to the old one, with its request and all.
 */
const CONTEXT = Symbol('what is settled about this request')
type Known = IncomingMessage & { [CONTEXT]?: Context }

interface Parts {
  config: Config
  tokens: Tokens
  db: Database
  ingest: Ingest
  locker: UploadLocker
}

export function tusRoutes({ config, tokens, db, ingest, locker }: Parts): Router {
  ingest.staging.extensions = EXTENSIONS
  /** Creations under a key whose request has not ended, by their upload. */
  const creating = new Map<string, Context>()

  const contextOf = (request: unknown): Context => {
    const context = ((request as EngineRequest).runtime.node.req as Known)[CONTEXT]
    if (!context) throw new Error('the engine asks about a request that it was not given')
    return context
  }

  const engine = createEngine({
    path: '/',
    datastore: ingest.staging,
    locker,
    maxSize: config.uploads.maxBytes,
    namingFunction: newId,
    getFileIdFromRequest: (request) => contextOf(request).uploadId,
    generateUrl: (request, { id }) => {
      const { req, lead } = contextOf(request)
      return addressOfUpload(req, { leadId: lead.id, id })
    },
    onUploadCreate: async (request, upload) => {
      await begin(contextOf(request), upload.id)
      return {}
    },
    onUploadFinish: async (request, upload) => {
      const context = contextOf(request)
      // § Concatenation: partial uploads are not processed until they form a final one.
      if (isPartial(await ingest.find(upload.id))) return {}
      try {
        context.recording = (await ingest.finish(upload.id)).recording
      } catch (error) {
        // A creation that is told 503 is made again, and its call would be recorded twice. It hears of its upload, and
        // of nothing that has come: what it does next finds out.
        if (!context.creation || asServiceError(error).status < 500) throw error
        context.unfinished = true
      }
      return {}
    },
    onResponseError: async (request, error) => {
      const context = contextOf(request)
      context.error = await inOurWords(error, context)
      return { status_code: context.error.status, body: asText(context.error) }
    },
    writeBody: async (body, upload, maxBytes, signal) => {
      const context = (body as Known)[CONTEXT] as Context
      if (upload.offset === upload.size) return upload.offset
      letBodyCome(context.req, context.res)
      const { offset, end } = await ingest.append(upload.id, body, { maxBytes, signal, check: context.check })
      context.cut = end === 'cut' && offset !== upload.size
      // What comes beyond a declared length is not the upload's: the upload is whole, and the connection ends.
      if (offset === upload.size || end === 'all' || end === 'cut') return offset
      if (end === 'overrun') throw new ServiceError('too_large', 'More bytes came than the upload may have.')
      throw new ServiceError('upload_locked', 'Another request took this upload over; HEAD tells how far it is.', {
        headers: { 'Retry-After': '1', Connection: 'close' },
      })
    },
  })

  /** What a creation says of the recording it is for, checked before a byte is sent (§ Creation). */
  async function promised({ req, lead }: Context, { metadata }: Creation) {
    const filename = textOf(metadata, 'filename')
    const callLogId = textOf(metadata, 'call_log_id')
    if (!filename) throw new ServiceError('missing_parameter', 'Upload-Metadata names no filename.')
    if (!callLogId) throw new ServiceError('missing_parameter', 'Upload-Metadata names no call_log_id.')
    const name = checkFilename(baseName(filename))
    const expectedSha256 = promisedSha256(req.headers, metadata)
    await callLogOf(db, lead.id, callLogId)
    return { callLogId, filename: name, expectedSha256 }
  }

  const intentOf = ({ caller, lead, creation }: Context, id: string) => ({
    id,
    door: 'tus' as const,
    caller,
    leadId: lead.id,
    metadata: creation?.metadataHeader ?? null,
    length: null,
  })

  async function begin(context: Context, id: string): Promise<void> {
    const creation = context.creation as Creation
    const { length = null } = creation
    context.creatingId = id
    const { headers } = context.req
    const bytesFollow = headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0
    const intent = { ...intentOf(context, id), length, bytesFollow }
    if (!creation.concat && length === 0) {
      throw new ServiceError('empty_upload', 'A recording has at least one byte.')
    }
    if (creation.concat) {
      // A key means the whole: clients send it with every part, too.
      await ingest.begin({ ...intent, concat: creation.concat.kind })
      context.uploadId = id
      return
    }
    const what = await promised(context, creation)
    const idempotency = keyOf(context.req, creation, what.expectedSha256)
    context.isKeyed = idempotency !== undefined
    // Before the row is there for a repeat to find.
    if (idempotency) creating.set(id, context)
    const row = await ingest.begin({ ...intent, ...what, idempotency })
    if (row.id !== id) {
      const first = creating.get(row.id)
      if (first) first.isKnown = true
      context.repeated = row.id
      throw new ServiceError('conflict', 'The upload is there already.')
    }
    context.uploadId = id
  }

  /** A final upload is whole from the start: it is answered when it has become its recording (§ Concatenation). */
  async function concatenate(context: Context, addresses: readonly string[]): Promise<void> {
    const { req, res, lead } = context
    const creation = context.creation as Creation
    const concat = req.headers['upload-concat'] as string
    checkParts(addresses, `/api/leads/${lead.id}/uploads`)
    const what = await promised(context, creation)
    const idempotency = keyOf(req, creation, what.expectedSha256)
    const intent = { ...intentOf(context, newId()), concat, ...what, idempotency }
    const gone = new AbortController()
    res.once('close', () => gone.abort())
    // In one order for all, so that two requests for the same parts wait in a row and not for each other.
    const locked = partIdsOf(concat)
      .sort()
      .reduceRight<() => Promise<Finished>>(
        (work, id) => () => locker.hold(id, gone.signal, work),
        () => ingest.concatenate(intent),
      )
    const { upload, recording } = await locked()
    res
      .status(201)
      .set({ Location: addressOfUpload(req, upload), ...(await recordingHeaders(req, upload, recording)) })
      .end()
  }

  /** Where the upload's recording is and what it is, as long as it is there. */
  async function recordingHeaders(req: Request, row: UploadRow, made?: Recording): Promise<Record<string, string>> {
    if (row.recordingId === null) return {}
    const sha256 = made?.sha256 ?? (await sha256ById(db, row.recordingId))
    return {
      'Recording-Id': row.recordingId,
      'Content-Location': addressOf(req, config.publicUrl, recordingPath(row.leadId, row.recordingId)),
      ...(sha256 !== undefined && { 'Repr-Digest': reprDigest(sha256) }),
    }
  }

  const addressOfUpload = (req: Request, { leadId, id }: { leadId: string; id: string }) =>
    addressOf(req, config.publicUrl, `/api/leads/${leadId}/uploads/${id}`)

  const expiryHeaders = (row: UploadRow) => ({ 'Upload-Expires': new Date(ingest.expiresAtMs(row)).toUTCString() })

  /** What the answer says beyond the library's: where the recording is, or when the upload expires. */
  async function uploadHeaders(
    method: string,
    req: Request,
    row: UploadRow,
    made?: Recording,
  ): Promise<Record<string, string>> {
    return {
      ...(method === 'HEAD' && {
        // As they came: the library's own metadata would be decoded and encoded again, which bytes do not survive.
        ...(row.metadata !== null && { 'Upload-Metadata': row.metadata }),
        ...(row.concat !== null && { 'Upload-Concat': row.concat }),
      }),
      ...(row.state === 'finished' ? await recordingHeaders(req, row, made) : expiryHeaders(row)),
    }
  }

  /** The library's errors are objects of its own; some need more than it can know. */
  async function inOurWords(error: unknown, { uploadId }: Context): Promise<ServiceError> {
    switch (error) {
      case ERRORS.INVALID_OFFSET: {
        const row = uploadId === undefined ? undefined : await ingest.find(uploadId)
        return new ServiceError('offset_conflict', 'The upload stands at another offset.', {
          headers: row
            ? { 'Upload-Offset': String(row.offset), ...(row.state === 'receiving' && expiryHeaders(row)) }
            : {},
        })
      }
      case ERRORS.INVALID_LENGTH:
        return new ServiceError('invalid_length', 'The length is declared once, and no shorter than what has come.')
      case ERRORS.ERR_SIZE_EXCEEDED:
        return new ServiceError('too_large', 'The body is longer than what is missing of the upload.')
      case ERRORS.ERR_MAX_SIZE_EXCEEDED:
        return new ServiceError('too_large', `An upload may have ${config.uploads.maxBytes} bytes at most.`)
      case ERRORS.FILE_NOT_FOUND:
        return new ServiceError('upload_not_found', 'There is no such upload.')
      case ERRORS.ABORTED:
        return new ServiceError('upload_locked', 'The request ended before it could write.', {
          headers: { 'Retry-After': '1' },
        })
      default:
        return asServiceError(error)
    }
  }

  /** A creation whose client will never learn the upload's address leaves none behind. */
  async function abandon(context: Context): Promise<void> {
    const { uploadId } = context
    if (uploadId === undefined) return
    const end = async () => {
      if (!context.isKnown) await ingest.abandon(uploadId, context.error)
    }
    await locker.hold(uploadId, AbortSignal.timeout(1_000), end).catch(() => {})
  }

  /** A creation that had its answer lost: the upload is told of as it stands, and the body is let go. */
  async function answerAgain(req: Request, res: Response, id: string): Promise<void> {
    const gone = new AbortController()
    res.once('close', () => gone.abort())
    // The earlier creation may still be writing: it lets go first, so that the offset told is the last word.
    const row = await locker.hold(id, gone.signal, async () => {
      const { state } = await ingest.find(id)
      if (state === 'terminated' || state === 'rejected') throw justEnded()
      return ingest.look(id)
    })
    const more = await uploadHeaders('POST', req, row)
    res.status(201).set({ Location: addressOfUpload(req, row), 'Upload-Offset': String(row.offset), ...more })
    await endAnswer(req, res, '')
  }

  async function handle(method: string, req: Request, res: Response, context: Context, row?: UploadRow): Promise<void> {
    ;(req as Known)[CONTEXT] = context
    const answer = await engine.handle(method, forEngine(req.headers, row?.length), req, res)
    if (context.repeated !== undefined) return answerAgain(req, res, context.repeated)
    const { error, cut, isKeyed = false, isKnown } = context
    if (context.creation && isAbandoned({ error, cut, isKeyed, isKnown })) await abandon(context)
    if (context.error || !answer.ok) {
      res.locals.error = context.error
      return send(req, res, answer, context.error ? headersOf(context.error, req) : {})
    }
    const more =
      method === 'DELETE'
        ? {}
        : await uploadHeaders(method, req, await ingest.find(context.uploadId as string), context.recording)
    await send(req, res, answer, { ...more, ...(context.unfinished && { 'Upload-Offset': '0' }) })
  }

  async function create(req: Request, res: Response): Promise<void> {
    const caller = callerOf(res)
    const lead = await leadFor(db, caller, req.params.leadId as string, 'upload')
    const creation = creationOf(req.headers)
    const context: Context = { req, res, caller, lead, creation, check: checksumOf(req), uploadId: undefined }
    if (creation.concat?.kind === 'final') return concatenate(context, creation.concat.addresses)
    try {
      await handle('POST', req, res, context)
    } finally {
      if (context.creatingId !== undefined) creating.delete(context.creatingId)
    }
  }

  async function change(method: string, req: Request, res: Response): Promise<void> {
    const caller = callerOf(res)
    const lead = await leadFor(db, caller, req.params.leadId as string, 'upload')
    const uploadId = req.params.uploadId as string
    const row = await ingest.findFor(caller, lead.id, uploadId)
    const context: Context = { req, res, caller, lead, uploadId }
    if (method === 'PATCH') {
      checkPatch(req.headers)
      context.check = checksumOf(req)
      if (row.door !== 'tus') throw new ServiceError('forbidden', 'This upload takes no bytes by tus.')
      // § Concatenation: whatever state it is in.
      if (isFinal(row)) throw new ServiceError('upload_is_final', 'A final upload takes no bytes of its own.')
    }
    await handle(method, req, res, context, row)
  }

  const router = Router({ mergeParams: true })

  // tus 1.0 § Tus-Resumable: in every answer; a request of another version is not processed.
  router.use((req, res, next) => {
    res.setHeader('Tus-Resumable', TUS_VERSION)
    if (req.method === 'OPTIONS' || req.headers['tus-resumable'] === TUS_VERSION) return next()
    throw new ServiceError('unsupported_tus_version', `This server speaks tus ${TUS_VERSION}.`, {
      headers: { 'Tus-Version': TUS_VERSION },
    })
  })

  router.options(['/', '/:uploadId'], (_req, res) => {
    res
      .status(204)
      .set({
        'Tus-Version': TUS_VERSION,
        'Tus-Extension': EXTENSIONS.join(','),
        'Tus-Max-Size': String(config.uploads.maxBytes),
        'Tus-Checksum-Algorithm': CHECKSUM_ALGORITHMS.join(','),
      })
      .end()
  })

  router.use(required(tokens), takesNoQuery)
  router.all('/', (req, res) => {
    if (methodOf(req.method, req.headers) !== 'POST') throw notAllowed('GET, HEAD, POST, OPTIONS')
    return create(req, res)
  })
  router.all('/:uploadId', (req, res) => {
    const method = methodOf(req.method, req.headers)
    if (!['HEAD', 'PATCH', 'DELETE'].includes(method)) throw notAllowed('HEAD, PATCH, DELETE, OPTIONS')
    return change(method, req, res)
  })

  return router
}

/** What the door refuses, in text; mounted behind it, for addresses too that no route could read. */
export const tusErrors: ErrorRequestHandler = async (error, req, res, _next) => {
  const told = toldOf(error)
  res.locals.error ??= told
  if (res.headersSent) return res.destroy()
  const text = asText(told)
  res
    .status(told.status)
    .set({ 'Tus-Resumable': TUS_VERSION, ...headersOf(told, req) })
    .set({ 'Content-Type': 'text/plain; charset=utf-8', 'Content-Length': String(Buffer.byteLength(text)) })
  await endAnswer(req, res, text)
}

/**
 * The key of a whole, and what a repeat must say again: pairs in any order, and the digest in any form. The parts of a
 * final upload are not compared: who never heard of it sends them again, to other addresses.
 */
function keyOf({ headers }: Request, { length, concat, metadata }: Creation, sha256: string | undefined) {
  const pairs = [...metadata]
    .filter(([name]) => name !== 'sha256')
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([name, value]) => [name, value.toString('base64')])
  return idempotencyOf(headers['idempotency-key'], ['tus', concat?.kind, length, sha256, ...pairs])
}

const justEnded = () =>
  new ServiceError('upload_locked', 'The upload that had this key has just ended; ask again for a new one.', {
    headers: { 'Retry-After': '1' },
  })

const asText = (error: ServiceError) => `${error.code}: ${error.message}\n`

const notAllowed = (allow: string) =>
  new ServiceError('method_not_allowed', 'This address does not take that method.', { headers: { Allow: allow } })

/**
 * The tus door: tus 1.0 under `/api/leads/{lead_id}/uploads`.
 *
 * @tus/server is the engine; around it stands what it leaves to others: who is asking and for which lead, what an upload
 * must promise before a byte is sent, the answer's CORS and errors in our words, and the finish. Knows HTTP; knows
 * nothing of disks.
 */

import type { IncomingMessage } from 'node:http'
import { ERRORS, type Upload } from '@tus/server'
import { type ErrorRequestHandler, type Request, type Response, Router } from 'express'
import { type Auth, type Caller, callerOf } from '../auth.ts'
import type { Config } from '../config.ts'
import type { Database } from '../db/database.ts'
import type { Lead, UploadRow } from '../db/schema.ts'
import { asServiceError, ServiceError } from '../errors.ts'
import { newId } from '../ids.ts'
import { callLogOf } from '../leads.ts'
import { recordingPath } from '../recordings/recordings.ts'
import { addressOf } from '../request.ts'
import { baseName, checkFilename } from './filename.ts'
import type { Ingest } from './ingest.ts'
import type { UploadLocker } from './locker.ts'
import { createEngine, type EngineRequest, send } from './tus-engine.ts'

const TUS_VERSION = '1.0.0'
const EXTENSIONS = ['creation', 'creation-with-upload', 'creation-defer-length', 'termination', 'expiration']

/** What the middleware settled about a request before the engine sees it. */
interface Context {
  req: Request
  caller: Caller
  lead: Lead
  uploadId: string | undefined
  error?: ServiceError
}

interface Parts {
  config: Config
  auth: Auth
  db: Database
  ingest: Ingest
  locker: UploadLocker
}

export function tusRoutes({ config, auth, db, ingest, locker }: Parts): Router {
  const contexts = new WeakMap<IncomingMessage, Context>()
  ingest.staging.extensions = EXTENSIONS

  const contextOf = (request: unknown): Context => {
    const context = contexts.get((request as EngineRequest).runtime.node.req)
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
      return addressOf(req, config.publicUrl, `/api/leads/${lead.id}/uploads/${id}`)
    },
    onUploadCreate: async (request, upload) => {
      await begin(contextOf(request), upload)
      return {}
    },
    onUploadFinish: async (request, upload) => {
      const { req } = contextOf(request)
      const finished = await ingest.finish(upload.id)
      return { headers: recordingHeaders(req, finished.upload) }
    },
    onResponseError: async (request, error) => {
      const context = contextOf(request)
      const told = await inOurWords(error, context)
      context.error = told
      return { status_code: told.status, body: asText(told) }
    },
    writeBody: async (body, upload, maxBytes, signal) => {
      const { offset, end } = await ingest.append(upload.id, body, { maxBytes, signal })
      if (offset === upload.size || end === 'all' || end === 'cut') return offset
      if (end === 'overrun') throw new ServiceError('too_large', 'More bytes came than the upload may have.')
      throw new ServiceError('upload_locked', 'Another request took this upload over; what came is kept.', {
        headers: { 'Retry-After': '1', Connection: 'close' },
      })
    },
  })

  /** Refuses an upload before a byte is sent when what it promises does not fit (§ creation). */
  async function begin({ caller, lead, req }: Context, upload: Upload): Promise<void> {
    if (upload.size === 0) throw new ServiceError('empty_upload', 'A recording has at least one byte.')
    const { filename, call_log_id: callLogId } = upload.metadata ?? {}
    if (!filename) throw new ServiceError('missing_parameter', 'Upload-Metadata names no filename.')
    if (!callLogId) throw new ServiceError('missing_parameter', 'Upload-Metadata names no call_log_id.')
    const name = checkFilename(baseName(filename))
    await callLogOf(db, lead.id, callLogId)
    await ingest.begin({
      id: upload.id,
      door: 'tus',
      caller,
      leadId: lead.id,
      callLogId,
      filename: name,
      metadata: req.headers['upload-metadata'] as string,
      length: upload.size ?? null,
    })
  }

  const recordingHeaders = (req: Request, row: UploadRow): Record<string, string> =>
    row.recordingId === null
      ? {}
      : {
          'Recording-Id': row.recordingId,
          'Content-Location': addressOf(req, config.publicUrl, recordingPath(row.leadId, row.recordingId)),
        }

  /** What the answer says beyond the library's: where the recording is, or when the upload expires. */
  async function uploadHeaders(req: Request, id: string): Promise<Record<string, string>> {
    const row = await ingest.find(id)
    if (row.state === 'finished') return recordingHeaders(req, row)
    return { 'Upload-Expires': new Date(ingest.expiresAtMs(row)).toUTCString() }
  }

  /** The library's errors are objects of its own; some need more than it can know. */
  async function inOurWords(error: unknown, { uploadId }: Context): Promise<ServiceError> {
    switch (error) {
      case ERRORS.INVALID_OFFSET: {
        const row = uploadId === undefined ? undefined : await ingest.find(uploadId)
        return new ServiceError('offset_conflict', 'The upload stands at another offset.', {
          headers: row ? { 'Upload-Offset': String(row.offset) } : {},
        })
      }
      case ERRORS.MISSING_OFFSET:
        return new ServiceError('missing_parameter', 'The header Upload-Offset is missing.')
      case ERRORS.INVALID_CONTENT_TYPE:
        return wrongType()
      case ERRORS.INVALID_LENGTH:
        return new ServiceError(
          'invalid_length',
          'Either Upload-Length or Upload-Defer-Length is required, and it is fixed once.',
        )
      case ERRORS.INVALID_METADATA:
        return new ServiceError('invalid_metadata', 'Upload-Metadata is not valid.')
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

  /** An upload is touched by who began it, on the lead that it began on. */
  async function assertMine({ caller, lead, uploadId }: Context): Promise<void> {
    const row = await ingest.find(uploadId as string)
    if (row.leadId !== lead.id) throw new ServiceError('upload_not_found', 'There is no such upload.')
    if (caller.role !== 'service' && row.callerId !== caller.id) {
      throw new ServiceError('not_your_upload', 'This upload was begun by another caller.')
    }
  }

  async function handle(method: string, req: Request, res: Response, uploadId: string | undefined): Promise<void> {
    const caller = callerOf(res)
    const lead = await auth.leadFor(caller, req.params.leadId as string, 'upload')
    const context: Context = { req, caller, lead, uploadId }
    if (uploadId !== undefined) await assertMine(context)
    contexts.set(req, context)
    req.socket.setTimeout(config.uploads.idleTimeoutMs)
    const response = await engine.handle(method, req, res)
    if (context.error) {
      res.locals.error = context.error
      return send(res, response, context.error.headers)
    }
    const id = uploadId ?? response.headers.get('location')?.split('/').pop()
    const more = id === undefined || method === 'DELETE' ? {} : await uploadHeaders(req, id)
    await send(res, response, more)
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
      })
      .end()
  })

  router.use(auth.required)
  router.post('/', (req, res) => handle('POST', req, res, undefined))
  router.all('/:uploadId', async (req, res) => {
    // tus 1.0 § X-HTTP-Method-Override: for clients that cannot send PATCH or DELETE.
    const method = String(req.headers['x-http-method-override'] ?? req.method).toUpperCase()
    if (!['HEAD', 'PATCH', 'DELETE'].includes(method)) throw notAllowed('HEAD, PATCH, DELETE, OPTIONS')
    if (method === 'PATCH' && req.headers['content-type'] !== 'application/offset+octet-stream') throw wrongType()
    await handle(method, req, res, req.params.uploadId)
  })
  router.all('/', () => {
    throw notAllowed('POST, OPTIONS')
  })

  const inText: ErrorRequestHandler = (error, _req, res, _next) => {
    const told = asServiceError(error)
    res.locals.error = told
    if (res.headersSent) return res.destroy()
    res.status(told.status).set(told.headers).type('text/plain').send(asText(told))
  }
  router.use(inText)

  return router
}

const asText = (error: ServiceError) => `${error.code}: ${error.message}\n`

const wrongType = () => new ServiceError('unsupported_media_type', 'Bytes are sent as application/offset+octet-stream.')

const notAllowed = (allow: string) =>
  new ServiceError('method_not_allowed', 'This address does not take that method.', { headers: { Allow: allow } })

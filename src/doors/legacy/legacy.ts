/**
 * The legacy door: `POST /api/leads/{lead_id}/recordings` with an action, as the clients of the first days speak it; and
 * the way in to the simple door, which is a form without one.
 *
 * Each action becomes the step that it means: an upload of deferred length begins, takes bytes, is sealed and finished,
 * or ends. Knows HTTP; knows nothing of disks.
 */
import { type Request, type Response, Router } from 'express'
import { z } from 'zod'
import { callerOf, required } from '../../auth/required.ts'
import type { Tokens } from '../../auth/tokens.ts'
import type { Config } from '../../config/config.ts'
import type { Database } from '../../db/database.ts'
import type { Lead, UploadRow } from '../../db/schema.ts'
import { ServiceError, typeNotTaken } from '../../errors.ts'
import { letBodyCome } from '../../http/early-answers.ts'
import { assertPlain } from '../../http/plain-body.ts'
import { addressOf, assertNoQuery, checked } from '../../http/request.ts'
import { newId } from '../../ids.ts'
import { type Caller, leadFor } from '../../leads/rights.ts'
import { callLogOf } from '../../leads/routes.ts'
import { recordingJson, recordingOf } from '../../recordings/recordings.ts'
import type { Space } from '../../storage/space.ts'
import { idempotencyOf } from '../../uploads/idempotency.ts'
import type { Ingest } from '../../uploads/ingest.ts'
import { callLogMismatch, createLegacyChunks, MAX_CHUNKS } from '../../uploads/legacy-chunks.ts'
import type { UploadLocker } from '../../uploads/locker.ts'
import { type Body, createBodies, type Gathering, pour } from '../body.ts'
import { baseName, checkFilename } from '../filename.ts'
import { createSimple, type Receiving } from '../form/form.ts'
import { boundaryOf, MultipartReader, type Part, parseContentType, type Sink } from '../form/multipart.ts'
import { decodeBase64InPlace } from './base64.ts'
import { readChunkJson, unescapeInPlace } from './chunk-json.ts'
import { inSlices } from './passes.ts'
import { readUrlencoded } from './urlencoded.ts'

const TAKEN = ['application/json', 'multipart/form-data', 'application/x-www-form-urlencoded']
const MAX_FIELDS = 32
const MAX_FIELD_BYTES = 64 * 1024
/** A form around its file: fields, headers, delimiters. */
const MAX_AROUND_BYTES = MAX_FIELDS * MAX_FIELD_BYTES

/** A form has digits where JSON has a number. */
const whole = (min: number, max: number) =>
  z.preprocess(
    (value) => (typeof value === 'string' && /^\d{1,9}$/.test(value) ? Number(value) : value),
    z.number().int().min(min).max(max),
  )
/** A form has an empty field where JSON has none. */
const callLogId = z
  .string()
  .nullish()
  .transform((id) => id || undefined)

export const actionBody = z.object({ action: z.enum(['init', 'append', 'finalize', 'cancel']) })
export const initBody = z.object({ filename: z.string(), call_log_id: callLogId })
export const appendBody = z.object({ upload_id: z.string(), chunk_index: whole(0, MAX_CHUNKS - 1) })
export const finalizeBody = z.object({
  upload_id: z.string(),
  total_chunks: whole(1, MAX_CHUNKS),
  call_log_id: callLogId,
})
export const cancelBody = z.object({ upload_id: z.string() })

/** Who asks for what, and how to answer. */
interface Context {
  req: Request
  res: Response
  caller: Caller
  lead: Lead
  /** Aborts when the connection is gone. */
  signal: AbortSignal
}

/** The bytes of a request's chunk, decoded when they are asked for. */
type ChunkOf = () => Promise<Buffer | undefined>

interface Parts {
  config: Config
  tokens: Tokens
  db: Database
  ingest: Ingest
  locker: UploadLocker
  space: Space
}

export function legacyRoutes({ config, tokens, db, ingest, locker, space }: Parts): Router {
  const { maxBytes, maxChunkSize, chunkSize } = config.uploads
  const bodies = createBodies({ directory: config.uploadsDir, space })
  const chunks = createLegacyChunks({ db, ingest, locker, space, maxBytes })
  const simple = createSimple({ db, ingest, locker, maxBytes })
  /** A chunk in Base64, with line breaks and escapes, and what is beside it. */
  const maxTextBytes = Math.ceil((maxChunkSize / 3) * 4 * 1.25) + MAX_FIELD_BYTES

  const uploadPath = (row: UploadRow) => `/api/leads/${row.leadId}/uploads/${row.id}`

  async function init({ req, res, caller, lead }: Context, params: unknown): Promise<void> {
    const { filename, call_log_id } = checked(initBody, params)
    const name = checkFilename(baseName(filename))
    if (call_log_id !== undefined) await callLogOf(db, lead.id, call_log_id)
    const row = await ingest.begin({
      id: newId(),
      door: 'legacy',
      caller,
      leadId: lead.id,
      callLogId: call_log_id,
      filename: name,
      length: null,
      idempotency: idempotencyOf(req.headers['idempotency-key'], ['legacy', name, call_log_id]),
    })
    res
      .status(201)
      .location(addressOf(req, config.publicUrl, uploadPath(row)))
      .json({ upload_id: row.id, chunk_size: chunkSize })
  }

  /** The caller's upload, which is one of chunks. */
  async function myUpload({ caller, lead }: Context, uploadId: string): Promise<UploadRow> {
    const row = await ingest.findFor(caller, lead.id, uploadId)
    if (row.door !== 'legacy') throw new ServiceError('upload_not_found', 'There is no such upload.')
    return row
  }

  async function append(context: Context, params: unknown, chunkOf: ChunkOf): Promise<void> {
    const { upload_id, chunk_index } = checked(appendBody, params)
    await myUpload(context, upload_id)
    const bytes = await chunkOf()
    if (!bytes) throw new ServiceError('missing_parameter', 'The parameter chunk is missing.')
    if (bytes.length === 0) throw new ServiceError('empty_upload', 'A chunk has at least one byte.')
    if (bytes.length > maxChunkSize) {
      throw new ServiceError('too_large', `A chunk may have ${maxChunkSize} bytes at most.`)
    }
    const received = await chunks.put(upload_id, chunk_index, bytes, context.signal)
    context.res
      .status(202)
      .json({ upload_id, chunk_index, chunks_received: received.chunks, bytes_received: received.bytes })
  }

  async function finalize(context: Context, params: unknown): Promise<void> {
    const { upload_id, total_chunks, call_log_id } = checked(finalizeBody, params)
    const { req, res, lead, signal } = context
    const row = await myUpload(context, upload_id)
    if (call_log_id !== undefined && row.callLogId !== null && call_log_id !== row.callLogId) {
      throw callLogMismatch()
    }
    const callLog = row.callLogId ?? call_log_id
    if (callLog === undefined) throw new ServiceError('missing_parameter', 'The parameter call_log_id is missing.')
    if (row.state !== 'finished' && row.state !== 'terminated') await callLogOf(db, lead.id, callLog)
    const { recording, recordingId } = await chunks.finalize(upload_id, total_chunks, callLog, signal)
    const finished = recording ?? (await recordingOf(db, lead.id, recordingId))
    res.status(200).json(recordingJson(finished, req, config.publicUrl))
  }

  async function cancel(context: Context, params: unknown): Promise<void> {
    const { upload_id } = checked(cancelBody, params)
    await myUpload(context, upload_id)
    await chunks.cancel(upload_id, context.signal)
    context.res.status(200).json({ upload_id, status: 'cancelled' })
  }

  function perform(context: Context, params: unknown, chunkOf: ChunkOf): Promise<void> {
    switch (checked(actionBody, params).action) {
      case 'init':
        return init(context, params)
      case 'append':
        return append(context, params, chunkOf)
      case 'finalize':
        return finalize(context, params)
      case 'cancel':
        return cancel(context, params)
    }
  }

  async function fromJson(context: Context, body: Body): Promise<void> {
    const bytes = withoutMark(body.bytes)
    const { params, chunk } = await inSlices(readChunkJson(bytes))
    await perform(context, params, async () => {
      if (!chunk) return undefined
      const end = await inSlices(unescapeInPlace(bytes, chunk))
      return inSlices(decodeBase64InPlace(bytes, chunk.start, end))
    })
  }

  async function fromUrlencoded(context: Context, body: Body): Promise<void> {
    const { params, chunk } = await inSlices(readUrlencoded(body.bytes))
    await perform(context, params, async () => chunk && inSlices(decodeBase64InPlace(chunk)))
  }

  async function withBody(context: Context, work: (context: Context, body: Body) => Promise<void>): Promise<void> {
    const { req, res, caller } = context
    const expectedBytes = lengthOf(req)
    if (expectedBytes === undefined || expectedBytes <= maxTextBytes) letBodyCome(req, res)
    const body = await bodies.read(req, caller.id, expectedBytes, maxTextBytes)
    try {
      await work(context, body)
    } finally {
      body.release()
    }
  }

  /** A form, whose file is on its way to its place before its fields are known. */
  async function fromMultipart(context: Context, boundary: string): Promise<void> {
    const { req, res, caller, lead, signal } = context
    const expectedBytes = lengthOf(req)
    if (expectedBytes !== undefined && expectedBytes > maxBytes + MAX_AROUND_BYTES) {
      throw new ServiceError('too_large', `An upload may have ${maxBytes} bytes at most.`)
    }
    // Without a prototype, so that any name is a field.
    const params: Record<string, string> = Object.create(null)
    let fields = 0
    let file: Receiving | undefined
    let chunk: { gathering: Gathering; isText: boolean } | undefined
    let body: Body | undefined

    function receive(filename: string): Sink {
      if (file) throw new ServiceError('invalid_request', 'A form may have one file.')
      if (params.action !== undefined || chunk) throw fileAndAction()
      assertNoQuery(req)
      const idempotencyKey = req.headers['idempotency-key']
      const bytesCome = () => req.socket.bytesRead
      file = simple.receive({ caller, lead, filename, expectedBytes, idempotencyKey, bytesCome, signal })
      file.failed.catch(fail)
      return file.sink
    }

    function gather(part: Part): Sink {
      if (file) throw fileAndAction()
      if (chunk) throw new ServiceError('invalid_request', 'A form may have one chunk.')
      const isText = part.filename === undefined && (part.contentType ?? 'text/plain') === 'text/plain'
      const gathering = bodies.gather(caller.id, expectedBytes, isText ? maxTextBytes : maxChunkSize)
      chunk = { gathering, isText }
      return { write: (piece) => gathering.write(piece), end: () => {} }
    }

    const reader = new MultipartReader(boundary, (part) => {
      if (part.name === 'file' && part.filename !== undefined) return receive(part.filename)
      if (++fields > MAX_FIELDS) {
        throw new ServiceError('invalid_request', `A form may have ${MAX_FIELDS} fields at most.`)
      }
      if (part.name === 'chunk') return gather(part)
      if (part.filename !== undefined) {
        throw new ServiceError('invalid_request', 'The form has a file that is named neither file nor chunk.')
      }
      return textSink(part.name, (text) => {
        params[part.name] = text
        if (part.name === 'action' && file) throw fileAndAction()
      })
    })

    let fail: (error: unknown) => void = () => {}
    const failed = new Promise<never>((_, reject) => {
      fail = reject
    })
    failed.catch(() => {})
    try {
      letBodyCome(req, res)
      let bytes = 0
      await pour(
        req,
        (piece) => {
          bytes += piece.length
          if (bytes > maxBytes + MAX_AROUND_BYTES) throw new ServiceError('too_large', 'The form is too long.')
          return reader.write(piece)
        },
        failed,
      )
      reader.end()
      if (file) {
        const recording = await file.complete(checked(simpleForm, params).call_log_id)
        res.status(200).json(recordingJson(recording, req, config.publicUrl))
        return
      }
      if (params.action === undefined) throw new ServiceError('missing_parameter', 'The form has no file.')
      body = await chunk?.gathering.end()
      const isText = chunk?.isText
      await perform(
        context,
        params,
        async () => body && (isText ? inSlices(decodeBase64InPlace(body.bytes)) : body.bytes),
      )
    } catch (error) {
      await file?.abort()
      throw error
    } finally {
      chunk?.gathering.abort()
      body?.release()
    }
  }

  const router = Router({ mergeParams: true })
  router.post<{ leadId: string }>('/', required(tokens), async (req, res) => {
    const caller = callerOf(res)
    const lead = await leadFor(db, caller, req.params.leadId, 'upload')
    const { type, parameters } = parseContentType(req.headers['content-type'])
    assertPlain(req.headers)
    const gone = new AbortController()
    res.once('close', () => {
      if (!res.writableFinished) gone.abort()
    })
    const context: Context = { req, res, caller, lead, signal: gone.signal }
    if (type === 'multipart/form-data') return fromMultipart(context, boundaryOf(parameters))
    if (type === 'application/x-www-form-urlencoded') return withBody(context, fromUrlencoded)
    if (type === 'application/json' && /^(utf-?8|us-ascii)?$/i.test(parameters.get('charset') ?? '')) {
      return withBody(context, fromJson)
    }
    throw typeNotTaken(`The body must be one of ${TAKEN.join(', ')}, in UTF-8.`, TAKEN)
  })
  return router
}

export const simpleForm = z.strictObject({ call_log_id: z.string().min(1, 'it is empty') })

const fileAndAction = () => new ServiceError('invalid_request', 'A form has either a file or an action.')

const BYTE_ORDER_MARK = Buffer.from('\uFEFF')

/** A parser may pass over a byte order mark (RFC 8259 §8.1); the other routes' parser does. */
const withoutMark = (json: Buffer): Buffer =>
  json.subarray(0, 3).equals(BYTE_ORDER_MARK) ? json.subarray(BYTE_ORDER_MARK.length) : json

/** The `Content-Length`; undefined for a body of unknown length. */
function lengthOf(req: Request): number | undefined {
  const length = req.headers['content-length']
  return length === undefined ? undefined : Number(length)
}

/** Takes the text of a field. */
function textSink(name: string, take: (text: string) => void): Sink {
  const pieces: Buffer[] = []
  let bytes = 0
  return {
    write(piece) {
      bytes += piece.length
      if (bytes > MAX_FIELD_BYTES) {
        const sentence = `The field ${JSON.stringify(name.slice(0, 64))} is longer than ${MAX_FIELD_BYTES} bytes.`
        throw new ServiceError('invalid_request', sentence)
      }
      pieces.push(piece)
      return undefined
    },
    end: () => take(Buffer.concat(pieces).toString()),
  }
}

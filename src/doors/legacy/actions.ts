/**
 * The legacy door's actions, as the clients of the first days ask for them.
 *
 * Each action becomes the step that it means: an upload of deferred length begins, takes bytes, is sealed and finished,
 * or ends. Knows what the parameters are called; knows nothing of disks.
 */
import { z } from 'zod'
import type { Database } from '../../db/database.ts'
import type { Lead, Recording } from '../../db/schema.ts'
import { ServiceError } from '../../errors.ts'
import { wholeNumberInText } from '../../http/plain-words.ts'
import { assertGivenOnce, checked } from '../../http/request.ts'
import { newId } from '../../ids.ts'
import type { Caller } from '../../leads/rights.ts'
import { callLogOf } from '../../leads/routes.ts'
import { recordingOf } from '../../recordings/recordings.ts'
import { idempotencyOf } from '../../uploads/idempotency.ts'
import type { Identity, Ingest } from '../../uploads/ingest.ts'
import { callLogMismatch, MAX_CHUNKS } from '../../uploads/legacy-chunks.ts'
import type { Row } from '../../uploads/ownership.ts'
import { baseName, checkFilename } from '../filename.ts'
import type { LegacyRequest } from './requests.ts'

/** A form has an empty field where JSON has none. */
const callLogId = z
  .string()
  .nullish()
  .transform((id) => id || undefined)

export const actionBody = z.object({ action: z.enum(['init', 'append', 'finalize', 'cancel']) })
export const initBody = z.object({ filename: z.string(), call_log_id: callLogId })
export const appendBody = z.object({ upload_id: z.string(), chunk_index: wholeNumberInText(0, MAX_CHUNKS - 1) })
export const finalizeBody = z.object({
  upload_id: z.string(),
  total_chunks: wholeNumberInText(1, MAX_CHUNKS),
  call_log_id: callLogId,
})
export const cancelBody = z.object({ upload_id: z.string() })

/** What the actions answer; `finalize` answers the recording. */
export const begunAnswer = z
  .object({ upload_id: z.string(), chunk_size: z.int().min(1).describe('Bytes that a chunk should have.') })
  .meta({ id: 'Begun' })
export const receivedAnswer = z
  .object({
    upload_id: z.string(),
    chunk_index: z.int().min(0),
    chunks_received: z.int().min(1),
    bytes_received: z.int().min(1),
  })
  .meta({ id: 'ChunkReceived' })
export const cancelledAnswer = z
  .object({ upload_id: z.string(), status: z.literal('cancelled') })
  .meta({ id: 'Cancelled' })

type Answer = z.infer<typeof begunAnswer | typeof receivedAnswer | typeof cancelledAnswer>

export interface ActionParts {
  db: Database
  ingest: Ingest
  /** Bytes of a chunk that clients are told to send, and that they may. */
  chunkSize: number
  maxChunkSize: number
}

/** An action's caller, and what came beside its parameters. */
export interface Asking {
  caller: Caller
  lead: Lead
  idempotencyKey: string | string[] | undefined
  /** Aborts when the connection is gone. */
  signal: AbortSignal
}

/** What an action answers: JSON, and the path of what was made; or the recording. */
export type Outcome = { status: number; json: Answer; path?: string } | { recording: Recording }

/** Old clients may send more. */
const KNOWN = {
  ...actionBody.shape,
  ...initBody.shape,
  ...appendBody.shape,
  ...finalizeBody.shape,
  ...cancelBody.shape,
  chunk: true,
}

/** @throws ServiceError for a request that is no action, and as each action does */
export function act(parts: ActionParts, asking: Asking, request: LegacyRequest): Promise<Outcome> {
  const { params, repeated, chunkOf } = request
  assertGivenOnce(repeated, KNOWN)
  switch (checked(actionBody, params).action) {
    case 'init':
      return init(parts, asking, params)
    case 'append':
      return append(parts, asking, params, chunkOf)
    case 'finalize':
      return finalize(parts, asking, params)
    case 'cancel':
      return cancel(parts, asking, params)
  }
}

async function init({ db, ingest, chunkSize }: ActionParts, asking: Asking, params: unknown): Promise<Outcome> {
  const { filename, call_log_id } = checked(initBody, params)
  const { caller, lead, idempotencyKey } = asking
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
    idempotency: idempotencyOf(idempotencyKey, ['legacy', name, call_log_id]),
  })
  return {
    status: 201,
    json: { upload_id: row.id, chunk_size: chunkSize },
    path: `/api/leads/${row.leadId}/uploads/${row.id}`,
  }
}

/** The caller's upload, which is one of chunks. */
async function myUpload({ ingest }: ActionParts, { caller, lead }: Asking, uploadId: string): Promise<Identity> {
  const upload = await ingest.findFor(caller, lead.id, uploadId)
  if (upload.door !== 'legacy') throw new ServiceError('upload_not_found', 'There is no such upload.')
  return upload
}

async function append(
  parts: ActionParts,
  asking: Asking,
  params: unknown,
  chunkOf: LegacyRequest['chunkOf'],
): Promise<Outcome> {
  const { ingest, maxChunkSize } = parts
  const { upload_id, chunk_index } = checked(appendBody, params)
  await myUpload(parts, asking, upload_id)
  const bytes = await chunkOf()
  if (!bytes) throw new ServiceError('missing_parameter', 'The parameter chunk is missing.')
  if (bytes.length === 0) throw new ServiceError('empty_upload', 'A chunk has at least one byte.')
  if (bytes.length > maxChunkSize) {
    throw new ServiceError('too_large', `A chunk may have ${maxChunkSize} bytes at most.`)
  }
  const received = await ingest.chunks.put(upload_id, chunk_index, bytes, asking.signal)
  return {
    status: 202,
    json: { upload_id, chunk_index, chunks_received: received.chunks, bytes_received: received.bytes },
  }
}

async function finalize(parts: ActionParts, asking: Asking, params: unknown): Promise<Outcome> {
  const { upload_id, total_chunks, call_log_id } = checked(finalizeBody, params)
  const { db, ingest } = parts
  const { lead, signal } = asking
  await myUpload(parts, asking, upload_id)
  const callOf = async (row: Row) => {
    if (call_log_id !== undefined && row.callLogId !== null && call_log_id !== row.callLogId) throw callLogMismatch()
    const callLog = row.callLogId ?? call_log_id
    if (callLog === undefined) throw new ServiceError('missing_parameter', 'The parameter call_log_id is missing.')
    if (row.state !== 'finished' && row.state !== 'terminated') await callLogOf(db, lead.id, callLog)
    return callLog
  }
  const { recording, recordingId } = await ingest.chunks.finalize(upload_id, total_chunks, callOf, signal)
  return { recording: recording ?? (await recordingOf(db, lead.id, recordingId)) }
}

async function cancel(parts: ActionParts, asking: Asking, params: unknown): Promise<Outcome> {
  const { upload_id } = checked(cancelBody, params)
  await myUpload(parts, asking, upload_id)
  await parts.ingest.chunks.cancel(upload_id, asking.signal)
  return { status: 200, json: { upload_id, status: 'cancelled' } }
}

/**
 * POST: a creation, with its first bytes or without; or several partial uploads made into one.
 */
import { asServiceError } from '../../errors.ts'
import { endAnswer } from '../../http/early-answers.ts'
import { newId } from '../../ids.ts'
import { tooLarge } from '../../uploads/upload.ts'
import { isAbandoned } from './abandon.ts'
import { addressOfUpload, uploadHeaders } from './answers.ts'
import { checksumOf } from './checksum.ts'
import { askedBy, type Context, type Exchange, type TusParts } from './context.ts'
import { begin } from './creation.ts'
import { concatenate } from './final-upload.ts'
import { type Creation, creationOf, hasBody, isOffsetStream } from './headers.ts'
import { holding } from './holding.ts'
import { finish } from './last-byte.ts'
import { answerAgain } from './repeat.ts'
import { assertFits, takeBody, takenOver } from './take-body.ts'

export async function create(parts: TusParts, at: Exchange): Promise<void> {
  const asked = await askedBy(parts.db, at)
  const creation = creationOf(at.req.headers)
  const context: Context = { ...at, ...asked, creation, check: checksumOf(at.req), uploadId: undefined }
  if (creation.concat?.kind === 'final') return concatenate(parts, context, creation.concat.addresses)
  try {
    await post(parts, context, creation)
  } catch (error) {
    if (context.repeated !== undefined) return answerAgain(parts, context, context.repeated)
    context.error = asServiceError(error)
    await abandonIfLost(parts, context)
    throw error
  } finally {
    if (context.creatingId !== undefined) parts.creating.delete(context.creatingId)
  }
}

async function post(parts: TusParts, context: Context, creation: Creation): Promise<void> {
  const { config } = parts
  const { req, res } = context
  const { length = null } = creation
  const { maxBytes } = config.uploads
  if (length !== null && length > maxBytes) throw tooLarge(maxBytes)
  const bringsBytes = isOffsetStream(req.headers['content-type'])
  if (bringsBytes) assertFits(parts, context, { length, offset: 0 })
  const id = newId()
  const row = await begin(parts, context, id)
  context.row = row
  const offset = bringsBytes ? await firstBytes(parts, context, id) : undefined
  if (offset !== undefined && offset === context.row.length) await finish(parts, context, id)
  await abandonIfLost(parts, context)
  const headers = await uploadHeaders(parts, 'POST', req, context.row, context.recording)
  if (res.headersSent) return
  res.statusCode = 201
  res.setHeader('Location', addressOfUpload(parts, req, row))
  res.setHeader('Content-Length', '0')
  if (offset !== undefined) res.setHeader('Upload-Offset', context.unfinished ? '0' : String(offset))
  for (const name in headers) res.setHeader(name, headers[name] as string)
  await endAnswer(req, res, '')
}

/** @returns the offset after them */
async function firstBytes(parts: TusParts, context: Context, id: string): Promise<number> {
  if (!hasBody(context.req.headers)) return 0
  return holding(parts, context, id, async (stop) => {
    const row = await parts.ingest.view(id)
    // A repeat was told of the upload first, and its client has gone on: these bytes have no place any more.
    if (row.offset > 0) throw takenOver()
    return takeBody(parts, context, row, stop)
  })
}

/** A creation whose client will never learn the upload's address leaves none behind. */
async function abandonIfLost({ ingest, ownership }: TusParts, context: Context): Promise<void> {
  const { error, cut, isKeyed = false, isKnown, uploadId } = context
  if (uploadId === undefined || !isAbandoned({ error, cut, isKeyed, isKnown })) return
  const end = async () => {
    if (!context.isKnown) await ingest.giveUp(uploadId, error)
  }
  await ownership.hold(uploadId, AbortSignal.timeout(1_000), end).catch(() => {})
}

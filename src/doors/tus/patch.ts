/**
 * PATCH: an upload goes on where it stands (tus 1.0 § PATCH), and may declare its length (§ Upload-Defer-Length).
 */
import { ServiceError } from '../../errors.ts'
import { endAnswer } from '../../http/early-answers.ts'
import type { Row } from '../../uploads/ownership.ts'
import { expiryHeaders, uploadHeaders } from './answers.ts'
import type { Context, TusParts } from './context.ts'
import type { Patch } from './headers.ts'
import { holding } from './holding.ts'
import { finish } from './last-byte.ts'
import { takeBody } from './take-body.ts'

export async function patch(parts: TusParts, context: Context, uploadId: string, asked: Patch): Promise<void> {
  const { req, res } = context
  const offset = await holding(parts, context, uploadId, (stop) => goOn(parts, context, uploadId, asked, stop))
  const { length } = context.row as Row
  if (offset === length) await finish(parts, context, uploadId)
  const headers = await uploadHeaders(parts, 'PATCH', req, context.row as Row, context.recording)
  if (res.headersSent) return
  res.statusCode = 204
  res.setHeader('Upload-Offset', String(offset))
  for (const name in headers) res.setHeader(name, headers[name] as string)
  await endAnswer(req, res, '')
}

/** The caller holds the upload: what is decided on its row stays true. @returns the new offset */
async function goOn(
  parts: TusParts,
  context: Context,
  uploadId: string,
  asked: Patch,
  stop: AbortSignal,
): Promise<number> {
  const { ingest } = parts
  const row = await ingest.view(uploadId)
  if (row.offset !== asked.offset) throw atAnotherOffset(parts, row)
  // The same length once more is no change.
  if (asked.length === undefined || asked.length === row.length) return takeBody(parts, context, row, stop)
  await ingest.declareLength(uploadId, asked.length)
  return takeBody(parts, context, { ...row, length: asked.length }, stop)
}

const atAnotherOffset = (parts: TusParts, row: Row) =>
  new ServiceError('offset_conflict', 'The upload stands at another offset.', {
    headers: { 'Upload-Offset': String(row.offset), ...(row.state === 'receiving' && expiryHeaders(parts, row)) },
  })

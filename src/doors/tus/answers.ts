/**
 * What the tus door's answers say: where an upload is, when it expires, what it has become, and errors in our words.
 */
import { ERRORS } from '@tus/server'
import { sha256ById } from '../../db/recordings.ts'
import type { Recording } from '../../db/schema.ts'
import { asServiceError, ServiceError } from '../../errors.ts'
import { reprDigest } from '../../http/repr-digest.ts'
import { addressOf } from '../../http/request.ts'
import { recordingPath } from '../../recordings/recordings.ts'
import type { Row } from '../../uploads/ownership.ts'
import type { Context, TusParts } from './context.ts'

export const addressOfUpload = (
  { config }: Pick<TusParts, 'config'>,
  req: Context['req'],
  { leadId, id }: { leadId: string; id: string },
): string => addressOf(req, config.publicUrl, `/api/leads/${leadId}/uploads/${id}`)

export const expiryHeaders = ({ ingest }: Pick<TusParts, 'ingest'>, row: Row) => ({
  'Upload-Expires': new Date(ingest.expiresAtMs(row)).toUTCString(),
})

/** Where the upload's recording is and what it is, as long as it is there. */
export async function recordingHeaders(
  { config, db }: Pick<TusParts, 'config' | 'db'>,
  req: Context['req'],
  row: Row,
  made?: Recording,
): Promise<Record<string, string>> {
  if (row.recordingId === null) return {}
  const sha256 = made?.sha256 ?? (await sha256ById(db, row.recordingId))
  return {
    'Recording-Id': row.recordingId,
    'Content-Location': addressOf(req, config.publicUrl, recordingPath(row.leadId, row.recordingId)),
    ...(sha256 !== undefined && { 'Repr-Digest': reprDigest(sha256) }),
  }
}

/** What the answer says beyond the library's: where the recording is, or when the upload expires. */
export async function uploadHeaders(
  parts: TusParts,
  method: string,
  req: Context['req'],
  row: Row,
  made?: Recording,
): Promise<Record<string, string>> {
  return {
    ...(method === 'HEAD' && {
      // As they came: the library's own metadata would be decoded and encoded again, which bytes do not survive.
      ...(row.metadata !== null && { 'Upload-Metadata': row.metadata }),
      ...(row.concat !== null && { 'Upload-Concat': row.concat }),
    }),
    ...(row.recordingId !== null ? await recordingHeaders(parts, req, row, made) : expiryHeaders(parts, row)),
  }
}

/** The library's errors are objects of its own. */
export function inOurWords(error: unknown): ServiceError {
  switch (error) {
    case ERRORS.FILE_NOT_FOUND:
      return new ServiceError('upload_not_found', 'There is no such upload.')
    case ERRORS.ABORTED:
      return new ServiceError('upload_locked', 'The request ended before it was done.', {
        headers: { 'Retry-After': '1' },
      })
    default:
      return asServiceError(error)
  }
}

/** An error as a tus client reads it: its code is the first word. */
export const asText = (error: ServiceError) => `${error.code}: ${error.message}\n`

/**
 * A creation that is sent again under its key, since its answer was lost: it is told of the upload that is there.
 */
import { ServiceError } from '../../errors.ts'
import { endAnswer } from '../../http/early-answers.ts'
import type { Row } from '../../uploads/ownership.ts'
import { onceUnsealed } from '../../uploads/seals.ts'
import { addressOfUpload, uploadHeaders } from './answers.ts'
import type { Context, TusParts } from './context.ts'

/** Tells of the upload as it stands, and lets the body go. */
export async function answerAgain(parts: TusParts, { req, res }: Context, id: string): Promise<void> {
  const { ingest, ownership } = parts
  const gone = new AbortController()
  res.once('close', () => gone.abort())
  // The earlier creation may still be writing: it lets go first, so that the offset told is the last word.
  const look = () => onceUnsealed(() => asItStands(ingest, id), gone.signal)
  const row = await ownership.hold(id, gone.signal, look)
  const more = await uploadHeaders(parts, 'POST', req, row)
  res.status(201).set({ Location: addressOfUpload(parts, req, row), 'Upload-Offset': String(row.offset), ...more })
  await endAnswer(req, res, '')
}

/** @throws ServiceError 423 where the key has just become free */
async function asItStands(ingest: TusParts['ingest'], id: string): Promise<Row> {
  const row = await ingest.find(id)
  // Its recording is there, also where its client has wanted to hear of the upload no more.
  if (row.recordingId !== null) return row
  if (['terminated', 'rejected', 'expired'].includes(row.state)) throw justEnded()
  return ingest.view(id)
}

const justEnded = () =>
  new ServiceError('upload_locked', 'The upload that had this key has just ended; ask again for a new one.', {
    headers: { 'Retry-After': '1' },
  })

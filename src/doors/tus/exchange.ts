/**
 * One request through the engine: its answer, with what ours say beyond it; and what becomes of a creation that failed.
 */
import { ServiceError } from '../../errors.ts'
import { endAnswer } from '../../http/early-answers.ts'
import { headersOf } from '../../http/problem.ts'
import type { Row } from '../../uploads/ownership.ts'
import { onceUnsealed } from '../../uploads/seals.ts'
import { isAbandoned } from './abandon.ts'
import { addressOfUpload, uploadHeaders } from './answers.ts'
import { type Context, setContext, type TusParts } from './context.ts'
import { type Engine, send } from './engine.ts'
import { forEngine } from './headers.ts'

/** The tus door at work: its parts, and the engine made of them. */
export interface TusDoor extends TusParts {
  engine: Engine
}

export async function exchange(door: TusDoor, method: string, context: Context): Promise<void> {
  const { engine } = door
  const { req, res } = context
  setContext(req, context)
  const answer = await engine.handle(
    method,
    forEngine(req.headers, () => context.owned?.row.length ?? null),
    req,
    res,
  )
  if (context.repeated !== undefined) return answerAgain(door, context, context.repeated)
  const { error, cut, isKeyed = false, isKnown } = context
  if (context.creation && isAbandoned({ error, cut, isKeyed, isKnown })) await abandon(door, context)
  if (context.error || !answer.ok) {
    res.locals.error = context.error
    return send(req, res, answer, context.error ? headersOf(context.error, req) : {})
  }
  const more =
    method === 'DELETE' || !context.row ? {} : await uploadHeaders(door, method, req, context.row, context.recording)
  await send(req, res, answer, { ...more, ...(context.unfinished && { 'Upload-Offset': '0' }) })
}

/** A creation whose client will never learn the upload's address leaves none behind. */
async function abandon({ ingest, ownership }: TusDoor, context: Context): Promise<void> {
  const { uploadId } = context
  if (uploadId === undefined) return
  const end = async () => {
    if (!context.isKnown) await ingest.giveUp(uploadId, context.error)
  }
  await ownership.hold(uploadId, AbortSignal.timeout(1_000), end).catch(() => {})
}

/** A creation that had its answer lost: the upload is told of as it stands, and the body is let go. */
async function answerAgain(door: TusDoor, { req, res }: Context, id: string): Promise<void> {
  const { ingest, ownership } = door
  const gone = new AbortController()
  res.once('close', () => gone.abort())
  // The earlier creation may still be writing: it lets go first, so that the offset told is the last word.
  const look = () => onceUnsealed(() => asItStands(ingest, id), gone.signal)
  const row = await ownership.hold(id, gone.signal, look)
  const more = await uploadHeaders(door, 'POST', req, row)
  res.status(201).set({ Location: addressOfUpload(door, req, row), 'Upload-Offset': String(row.offset), ...more })
  await endAnswer(req, res, '')
}

/** @throws ServiceError 423 where the key has just become free */
async function asItStands(ingest: TusDoor['ingest'], id: string): Promise<Row> {
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

/**
 * HEAD or DELETE through the engine: its answer, with what ours say beyond it.
 */
import { headersOf } from '../../http/problem.ts'
import { isOpen } from '../../uploads/upload.ts'
import { uploadHeaders } from './answers.ts'
import { type Context, setContext, type TusParts } from './context.ts'
import { type Engine, type EngineMethod, send } from './engine.ts'
import { forEngine } from './headers.ts'

/** The tus door at work: its parts, and the engine made of them. */
export interface TusDoor extends TusParts {
  engine: Engine
}

export async function exchange(door: TusDoor, method: EngineMethod, context: Context): Promise<void> {
  const { req, res } = context
  setContext(req, context)
  const answer = await door.engine.handle(method, forEngine(req.headers), req, res)
  if (context.error || !answer.ok) {
    res.locals.error = context.error
    return send(req, res, answer, context.error ? headersOf(context.error, req) : {})
  }
  if (method === 'HEAD') tellResumed(door, context)
  const more = method === 'DELETE' || !context.row ? {} : await uploadHeaders(door, method, req, context.row)
  await send(req, res, answer, more)
}

/** A client asks how far an upload is in order to go on with it. */
function tellResumed({ events }: TusDoor, { row }: Context): void {
  if (!row || !isOpen(row) || row.offset === 0) return
  events.uploadResumed({ uploadId: row.id, leadId: row.leadId, offset: row.offset })
}

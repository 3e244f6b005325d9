/**
 * HEAD or DELETE through the engine: its answer, with what ours say beyond it.
 */
import { headersOf } from '../../http/problem.ts'
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
  const more = method === 'DELETE' || !context.row ? {} : await uploadHeaders(door, method, req, context.row)
  await send(req, res, answer, more)
}

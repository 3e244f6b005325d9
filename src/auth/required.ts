/**
 * Routes behind a login: who is asking is settled before anything else of the route runs.
 */
import type { RequestHandler, Response } from 'express'
import type { Caller } from '../leads/rights.ts'
import type { Tokens } from './tokens.ts'

/** Express middleware. @throws ServiceError 401 or 503, as `authenticate` does */
export const required =
  (tokens: Tokens): RequestHandler =>
  async (req, res, next) => {
    res.locals.caller = await tokens.authenticate(req.headers.authorization)
    next()
  }

/** The caller that `required` found; only for handlers behind it. */
export function callerOf(res: Response): Caller {
  const { caller } = res.locals as { caller?: Caller }
  if (!caller) throw new Error('callerOf: the route is not behind auth/required')
  return caller
}

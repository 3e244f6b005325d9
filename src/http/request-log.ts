/**
 * One line for each request, written when it ends: who asked for what, what came of it, how long it took.
 *
 * It stands ahead of everything else and runs on every request, so it does little: no logger of its own for a request,
 * nothing asynchronous, nothing at all where the level is off.
 */
import { randomUUID } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { type ErrorCode, ServiceError } from '../errors.ts'
import { type Log, maskTokens } from '../log.ts'

const COUNTED = Symbol('bytes of this connection that earlier requests account for')
type Counted = Socket & { [COUNTED]?: { read: number; written: number } }

/** What the handlers leave in `res.locals` for the line to say. */
interface Locals {
  requestId?: string
  caller?: { id: string }
  /** What was thrown. Its code is always told, its cause and stack when the answer is a 5xx. */
  error?: unknown
}
type Noted = ServerResponse & { locals?: Locals }

const SANE_ID = /^[\w.:-]{1,64}$/

const isProbe = (url: string) => /^\/(livez|readyz)(\?|$)/.test(url)

/** Express middleware: gives the request its id, echoes it as `X-Request-Id`, and writes the line when all is over. */
export function requestLog(log: Log) {
  return (req: IncomingMessage, res: ServerResponse, next: () => void): void => {
    const asked = req.headers['x-request-id']
    const requestId = typeof asked === 'string' && SANE_ID.test(asked) ? asked : randomUUID()
    const noted: Noted = res
    const locals = noted.locals ?? {}
    locals.requestId = requestId
    noted.locals = locals
    res.setHeader('X-Request-Id', requestId)

    const startedAtMs = performance.now()
    const url = req.url ?? '' // kept now: a mount rewrites it
    const socket: Counted = req.socket
    res.once('close', () => {
      const status = res.headersSent ? res.statusCode : undefined
      const aborted = !res.writableFinished
      // Half an answer has a good status, whatever broke it off.
      const failed = !isExpected(locals.error) && ((status ?? 0) >= 500 || (aborted && statusOf(locals.error) >= 500))
      const level = failed ? 'error' : isProbe(url) ? 'debug' : 'info'
      const counted = socket[COUNTED]
      const { bytesRead: read, bytesWritten: written } = socket
      socket[COUNTED] = { read, written }
      if (!log.isLevelEnabled(level)) return

      log[level](
        {
          requestId,
          method: req.method,
          url: maskTokens(url),
          status,
          durationMs: Math.round((performance.now() - startedAtMs) * 10) / 10,
          // On the wire, heads included.
          bytesIn: read - (counted?.read ?? 0),
          bytesOut: written - (counted?.written ?? 0),
          callerId: locals.caller?.id,
          aborted: aborted || undefined,
          code: codeOf(locals.error),
          reason: status === 401 ? reasonOf(locals.error) : undefined,
          err: failed ? locals.error : undefined,
        },
        aborted ? (failed ? 'answer broken off' : 'request aborted by the client') : 'request',
      )
    })
    next()
  }
}

/** A 5xx that is no fault of ours: the client comes again, and the operator has nothing to look into. */
const EXPECTED: ReadonlySet<string> = new Set<ErrorCode>(['shutting_down', 'too_many_uploads'])
const isExpected = (error: unknown): boolean => error instanceof ServiceError && EXPECTED.has(error.code)

const statusOf = (error: unknown): number => (error instanceof ServiceError ? error.status : 0)

/** Which check a login failed; the client was told no more than that it did. */
const reasonOf = (error: unknown): string | undefined =>
  error instanceof Error && error.cause instanceof Error ? maskTokens(error.cause.message) : undefined

const codeOf = (error: unknown): string | undefined => {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined
  return typeof code === 'string' ? code : undefined
}

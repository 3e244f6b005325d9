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
  /** Of the trace, where there are traces. */
  traceId?: string
  caller?: { id: string; role?: string }
  /** Of an upload that the address does not name. */
  uploadId?: string
  /** Of a recording that the address does not name. */
  recordingId?: string
  /** What was thrown. Its code is always told, its cause and stack when the answer is a 5xx. */
  error?: unknown
  door?: string
}
type Noted = ServerResponse & { locals?: Locals }

/** What a line may say beside its level, time and message; docs/operating.md explains each. */
export const REQUEST_FIELDS = [
  'requestId',
  'traceId',
  'method',
  'url',
  'status',
  'durationMs',
  'bytesIn',
  'bytesOut',
  'callerId',
  'callerRole',
  'leadId',
  'callLogId',
  'uploadId',
  'recordingId',
  'aborted',
  'code',
  'reason',
  'err',
] as const

type RequestLine = Record<(typeof REQUEST_FIELDS)[number], unknown>
/** What is told of a request once it has ended. */
export interface RequestEnded {
  method: string
  url: string
  /** Undefined: the client left before one was sent. */
  status: number | undefined
  seconds: number
  /** On the wire, heads included. */
  bytesIn: number
  bytesOut: number
  /** Of the error that it was answered with. */
  code: string | undefined
  /** The way that its bytes took, where the address does not say it. */
  door: string | undefined
}

const SANE_ID = /^[\w.:-]{1,64}$/

/** What the client calls its request, or a name of ours. */
export function requestIdOf(req: IncomingMessage): string {
  const asked = req.headers['x-request-id']
  return typeof asked === 'string' && SANE_ID.test(asked) ? asked : randomUUID()
}

const isProbe = (url: string) => /^\/(livez|readyz)(\?|$)/.test(url)

/**
 * Express middleware: gives the request its id, echoes it as `X-Request-Id`, and writes the line when all is over.
 *
 * @param ended hears of it then, whatever is logged
 */
export function requestLog(log: Log, ended?: (request: RequestEnded) => void) {
  return (req: IncomingMessage, res: ServerResponse, next: () => void): void => {
    const requestId = requestIdOf(req)
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
      const probes = isProbe(url)
      // Half an answer has a good status, whatever broke it off. Why a service is not ready has a line of its own.
      const failed =
        !probes && !isExpected(locals.error) && ((status ?? 0) >= 500 || (aborted && statusOf(locals.error) >= 500))
      const level = failed ? 'error' : probes ? 'debug' : 'info'
      const counted = socket[COUNTED]
      const { bytesRead: read, bytesWritten: written } = socket
      socket[COUNTED] = { read, written }
      // On the wire, heads included.
      const bytesIn = read - (counted?.read ?? 0)
      const bytesOut = written - (counted?.written ?? 0)
      const durationMs = performance.now() - startedAtMs
      const code = codeOf(locals.error)
      ended?.({
        method: req.method ?? '',
        url,
        status,
        seconds: durationMs / 1_000,
        bytesIn,
        bytesOut,
        code,
        door: locals.door,
      })
      if (!log.isLevelEnabled(level)) return

      const line: RequestLine = {
        requestId,
        traceId: locals.traceId,
        method: req.method,
        url: maskTokens(url),
        status,
        durationMs: Math.round(durationMs * 10) / 10,
        bytesIn,
        bytesOut,
        callerId: locals.caller?.id,
        callerRole: locals.caller?.role,
        ...subjectsOf(url, res, locals),
        aborted: aborted || undefined,
        code,
        reason: failed ? undefined : reasonOf(locals.error),
        err: failed ? locals.error : undefined,
      }
      log[level](line, aborted ? (failed ? 'answer broken off' : 'request aborted by the client') : 'request')
    })
    next()
  }
}

/** Ids only: what else stands in an address is no lead of ours. */
const SUBJECTS =
  /^\/api\/leads\/([\w-]{1,64})(?:\/(?:uploads\/([\w-]{1,64})|recordings\/([\w-]{1,64})|call-logs\/([\w-]{1,64})))?(?:[/?]|$)/i
const MADE = /\/uploads\/([\w-]{1,64})$/

/** What the request was about: by its address, and by what the answer says was made. */
function subjectsOf(url: string, res: ServerResponse, { uploadId, recordingId }: Locals) {
  const [, leadId, ofUpload, ofRecording, callLogId] = SUBJECTS.exec(url) ?? []
  return {
    leadId,
    callLogId,
    uploadId: uploadId ?? ofUpload ?? idIn(res.getHeader('Location')),
    recordingId: recordingId ?? ofRecording ?? res.getHeader('Recording-Id'),
  }
}

const idIn = (location: unknown): string | undefined =>
  typeof location === 'string' ? MADE.exec(location)?.[1] : undefined

/** A 5xx that is no fault of ours: the client comes again, and the operator has nothing to look into. */
const EXPECTED: ReadonlySet<string> = new Set<ErrorCode>(['shutting_down', 'too_many_uploads'])
const isExpected = (error: unknown): boolean => error instanceof ServiceError && EXPECTED.has(error.code)

const statusOf = (error: unknown): number => (error instanceof ServiceError ? error.status : 0)

/**
 * Which check failed, as the client was told. Of a login it was told no more than that; what else is a cause may repeat
 * a body, which has no place in a log.
 */
function reasonOf(error: unknown): string | undefined {
  if (!(error instanceof ServiceError)) return undefined
  return maskTokens(error.status === 401 && error.cause instanceof Error ? error.cause.message : error.message)
}

const codeOf = (error: unknown): string | undefined => {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined
  return typeof code === 'string' ? code : undefined
}

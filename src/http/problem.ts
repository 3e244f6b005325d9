/**
 * Errors as `application/problem+json` (RFC 9457), on every route but tus'.
 *
 * `error` repeats `detail` for the older clients, which read nothing else.
 */

import { STATUS_CODES } from 'node:http'
import type { ErrorRequestHandler, RequestHandler } from 'express'
import { z } from 'zod'
import { asServiceError, type ErrorCode, ServiceError, STATUS, typeNotTaken } from '../errors.ts'
import { endAnswer } from './early-answers.ts'
import { notAnObject } from './request.ts'

/** An error as clients see it. */
export const problemAnswer = z
  .object({
    type: z.literal('about:blank'),
    title: z.string(),
    status: z.int(),
    detail: z.string().describe('A sentence to read, which may change.'),
    code: z.enum(Object.keys(STATUS) as [ErrorCode, ...ErrorCode[]]).describe('To act on: stable.'),
    error: z.string().describe('The same sentence, for older clients.'),
    missing_chunks: z.array(z.int()).optional().describe('Of `incomplete_upload`: the chunks that have not come.'),
  })
  .meta({ id: 'Problem' })

/** What express and its body parser throw for a bad request: `status` below 500, with a `type` of their own. */
const isClientError = (error: unknown): error is Error & { status: number; type?: string } =>
  error instanceof Error &&
  typeof (error as { status?: unknown }).status === 'number' &&
  (error as unknown as { status: number }).status < 500

/** Whether it is what the parser of bodies refused although it is JSON: it takes objects and lists alone. */
function isJson(body: unknown): boolean {
  try {
    JSON.parse(String(body))
    return true
  } catch {
    return false
  }
}

/** What a client is told of any error of a route, express' own among them. */
export function toldOf(error: unknown): ServiceError {
  if (error instanceof ServiceError || !isClientError(error)) return asServiceError(error)
  if (error.status === 413) return new ServiceError('too_large', 'The body is too long.', { cause: error })
  if (error.type === 'charset.unsupported') return typeNotTaken('The body must be JSON in UTF-8.', ['application/json'])
  if (error.status === 415)
    return new ServiceError('unsupported_media_type', 'The body is compressed in a way that is not taken.', {
      headers: { 'Accept-Encoding': 'gzip, deflate, br, identity' },
      cause: error,
    })
  if (error instanceof URIError)
    return new ServiceError('invalid_request', 'The address is not well formed.', { cause: error })
  if (error.type === 'entity.parse.failed' && isJson((error as { body?: unknown }).body)) return notAnObject()
  if (error.type === 'entity.parse.failed')
    return new ServiceError('invalid_request', 'The body is not valid JSON.', { cause: error })
  return new ServiceError('invalid_request', 'The request could not be read.', { cause: error })
}

/** The headers of an error's answer: what it says by itself, and what follows from the request. */
export function headersOf(told: ServiceError, { method }: { method?: string | undefined }): Record<string, string> {
  const { headers } = told
  const { Accept: taken } = headers
  return {
    ...headers,
    ...(taken !== undefined && method === 'POST' && { 'Accept-Post': taken }),
    ...(taken !== undefined && method === 'PATCH' && { 'Accept-Patch': taken }),
    // Its answer has no body to say it in.
    ...(method === 'HEAD' && { 'Error-Code': told.code }),
  }
}

export const notFound: RequestHandler = () => {
  throw new ServiceError('route_not_found', 'There is nothing at this address.')
}

/** The answer's headers and its body. */
export function problemOf(
  told: ServiceError,
  req: { method?: string | undefined },
): { headers: Record<string, string>; text: string } {
  const answer: z.infer<typeof problemAnswer> = {
    type: 'about:blank',
    title: STATUS_CODES[told.status] ?? 'Error',
    status: told.status,
    detail: told.message,
    code: told.code,
    error: told.message,
    ...told.members,
  }
  const text = JSON.stringify(answer)
  const headers = {
    ...headersOf(told, req),
    'Content-Type': 'application/problem+json; charset=utf-8',
    'Content-Length': String(Buffer.byteLength(text)),
  }
  return { headers, text }
}

/** The last of all handlers. */
export const problems: ErrorRequestHandler = async (error, req, res, _next) => {
  const told = toldOf(error)
  // The first: what was answered at a shutdown is followed by the end of its body.
  res.locals.error ??= told
  // What has been answered at a shutdown is on its way.
  if (res.writableEnded) return
  if (res.headersSent) return res.destroy()
  const { headers, text } = problemOf(told, req)
  res.status(told.status).set(headers)
  await endAnswer(req, res, text)
}

/**
 * Reading a request: values checked by schema, and the addresses that answers name.
 */
import type { NextFunction, Request } from 'express'
import { z } from 'zod'
import { ServiceError, typeNotTaken } from '../errors.ts'

/** What a sentence repeats of the names that a client made up. */
const MAX_NAMED = 8
const MAX_NAME_LENGTH = 64

/**
 * The value as the schema gives it.
 *
 * @param name what to call the value in the sentence when the schema is of a single parameter
 * @throws ServiceError `missing_parameter`, `invalid_parameter` or, of a strict object, `unknown_parameter` (400), naming
 *   the first parameter at fault
 */
export function checked<S extends z.ZodType>(schema: S, value: unknown, name?: string): z.output<S> {
  if (name === undefined && (value === undefined || value === null || typeof value !== 'object')) {
    throw typeNotTaken('The body must be a JSON object (Content-Type: application/json).', ['application/json'])
  }
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const issue = result.error.issues[0]
  if (issue?.code === 'unrecognized_keys') {
    const names = issue.keys.slice(0, MAX_NAMED).map((key) => [...issue.path, key].join('.').slice(0, MAX_NAME_LENGTH))
    throw new ServiceError('unknown_parameter', `No such parameter is known here: ${names.join(', ')}.`)
  }
  const at = [name, ...(issue?.path ?? [])].filter((part) => part !== undefined).join('.') || 'body'
  const given = issue?.path.reduce<unknown>(
    (v, key) => (v as Record<PropertyKey, unknown> | undefined)?.[key as string],
    value,
  )
  if (given === undefined && (issue?.code === 'invalid_type' || issue?.code === 'invalid_value')) {
    throw new ServiceError('missing_parameter', `The parameter ${at} is missing.`)
  }
  throw new ServiceError('invalid_parameter', `The parameter ${at} is not valid: ${issue?.message ?? 'unreadable'}.`)
}

/**
 * The query as the schema gives it; each route has one, and it is strict.
 *
 * @throws ServiceError as `checked` does
 */
export const queryOf = <S extends z.ZodType>(schema: S, req: Pick<Request, 'query'>): z.output<S> =>
  checked(schema, req.query)

const noQuery = z.strictObject({})

/** @throws ServiceError `unknown_parameter` for a request with any query parameter */
export function assertNoQuery(req: Pick<Request, 'url' | 'query'>): void {
  if (req.url.includes('?')) queryOf(noQuery, req)
}

/** Express middleware of routes that know no query parameter. */
export function takesNoQuery(req: Pick<Request, 'url' | 'query'>, _res: unknown, next: NextFunction): void {
  assertNoQuery(req)
  next()
}

/**
 * A path of ours as an absolute address: under the public URL where one is configured, else as the client reached us.
 */
export function addressOf(req: Request, publicUrl: URL | undefined, path: string): string {
  if (publicUrl) return publicUrl.href.replace(/\/$/, '') + path
  return req.host ? `${req.protocol}://${req.host}${path}` : path
}

/** The body that was parsed; an empty object for a request without one, whatever type it says. */
export const bodyOf = ({ headers, body }: Pick<Request, 'headers' | 'body'>): unknown =>
  headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0 ? body : {}

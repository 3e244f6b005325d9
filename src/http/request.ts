/**
 * Reading a request: values checked by schema, and the addresses that answers name.
 */
import type { NextFunction, Request } from 'express'
import { z } from 'zod'
import { ServiceError, typeNotTaken } from '../errors.ts'
import { unkeepableIn } from './keepable.ts'
import { inPlainWords } from './plain-words.ts'

/** What a sentence repeats of the names that a client made up. */
const MAX_NAMED = 8
const MAX_NAME_LENGTH = 64

/**
 * The value as the schema gives it.
 *
 * @param name what to call the value in the sentence when the schema is of a single parameter
 * @throws ServiceError `missing_parameter`, `invalid_parameter` or, of a strict object, `unknown_parameter` (400), naming
 *   the first parameter at fault, and those that are unknown
 */
export function checked<S extends z.ZodType>(schema: S, value: unknown, name?: string): z.output<S> {
  if (name === undefined && (value === undefined || value === null || typeof value !== 'object')) {
    throw typeNotTaken('The body must be a JSON object (Content-Type: application/json).', ['application/json'])
  }
  if (name === undefined && Array.isArray(value)) throw notAnObject()
  const result = schema.safeParse(value, { error: inPlainWords })
  if (result.success) {
    assertKeepable(result.data, name)
    return result.data
  }
  const { issues } = result.error
  const unknown = issues.find((issue) => issue.code === 'unrecognized_keys')
  const fault = issues.find((issue) => issue !== unknown)
  const strange = unknown && `No such parameter is known here: ${namesOf(unknown)}.`
  if (!fault) throw new ServiceError('unknown_parameter', strange ?? 'The parameters are not valid.')
  const told = faultOf(fault, value, name)
  throw strange === undefined ? told : new ServiceError(told.code, `${told.message} ${strange}`)
}

/** The body is JSON, but a list, a number, a text or null. */
export const notAnObject = () => new ServiceError('invalid_request', 'The body must be a JSON object.')

/** What no schema has to say by itself. */
function assertKeepable(value: unknown, name: string | undefined): void {
  const at = unkeepableIn(value, name === undefined ? [] : [name])?.join('.')
  if (at === undefined) return
  throw new ServiceError(
    'invalid_parameter',
    `The parameter ${at} is not valid: it must have neither NUL nor half a surrogate pair.`,
  )
}

function namesOf({ keys, path }: z.core.$ZodIssueUnrecognizedKeys): string {
  const names = keys.slice(0, MAX_NAMED).map((key) => [...path, key].join('.').slice(0, MAX_NAME_LENGTH))
  return names.join(', ')
}

function faultOf({ path, code, message }: z.core.$ZodIssue, value: unknown, name: string | undefined): ServiceError {
  const at = [name, ...path].filter((part) => part !== undefined).join('.') || 'body'
  const given = path.reduce<unknown>((v, key) => (v as Record<PropertyKey, unknown> | undefined)?.[key], value)
  if (given === undefined && (code === 'invalid_type' || code === 'invalid_value')) {
    return new ServiceError('missing_parameter', `The parameter ${at} is missing.`)
  }
  return new ServiceError('invalid_parameter', `The parameter ${at} is not valid: it ${message}.`)
}

/**
 * Of a parameter that is given twice it can't be told what is meant. One that the route passes over may be.
 *
 * @param repeated names that were given more than once
 * @param known by their names, those that the route knows
 * @throws ServiceError `invalid_parameter`
 */
export function assertGivenOnce(repeated: readonly string[], known: object): void {
  const twice = repeated.find((name) => Object.hasOwn(known, name))
  if (twice !== undefined) throw givenTwice(twice)
}

export const givenTwice = (name: string) =>
  new ServiceError('invalid_parameter', `The parameter ${name} is given more than once.`)

/**
 * The query as the schema gives it; each route has one, and it is strict.
 *
 * @throws ServiceError as `checked` does
 */
export function queryOf<S extends z.ZodObject>(schema: S, req: Pick<Request, 'query'>): z.output<S> {
  const repeated = Object.keys(req.query).filter((name) => Array.isArray(req.query[name]))
  assertGivenOnce(repeated, schema.shape)
  return checked(schema, req.query)
}

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

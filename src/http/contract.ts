/**
 * What rooms describe their operations with, for the contract (OpenAPI 3.1). `openapi.ts` puts together what they say.
 *
 * Loaded when the contract is first asked for, as are all files named `…-contract.ts`.
 */
import { z } from 'zod'
import type {
  ZodOpenApiOperationObject,
  ZodOpenApiParameterObject,
  ZodOpenApiPathsObject,
  ZodOpenApiResponseObject,
  ZodOpenApiResponsesObject,
} from 'zod-openapi'
import { type ErrorCode, STATUS } from '../errors.ts'
import { ID_PATTERN } from '../ids.ts'
import { MEANING } from './error-meanings.ts'

export type Paths = ZodOpenApiPathsObject
export type Operation = ZodOpenApiOperationObject
export type Responses = ZodOpenApiResponsesObject

/** Parts of addresses. */
export const leadId = z.string().regex(ID_PATTERN).meta({ description: 'The id of a lead, as the CRM has it.' })
export const callLogId = z.string().regex(ID_PATTERN).meta({ description: 'The id of a call, as the CRM has it.' })
export const recordingId = z.string().regex(ID_PATTERN).meta({ description: 'As the service gave it.' })
export const uploadId = recordingId

/** The `security` of what anybody may ask. */
export const OPEN_TO_ALL: Operation['security'] = []

/** What any route may answer. */
const ANYWHERE: readonly ErrorCode[] = ['invalid_request', 'unknown_parameter', 'internal', 'shutting_down']
/** What any route behind a login may answer besides. */
const BEHIND_LOGIN: readonly ErrorCode[] = ['unauthenticated', 'token_expired', 'unavailable', 'busy']

/** Of lists whose pages have a bound on what they cost. */
export const SHORT_PAGES = 'A page may be shorter than `limit`, or empty, and not the last: `next_cursor` tells.'

/** Bytes, whatever they are. */
export const BYTES = {}

interface HeaderMore {
  required?: boolean
  /** JSON Schema. */
  schema?: { type: 'string' | 'integer'; const?: string; enum?: string[]; minimum?: number }
}

/** A header of an answer, which every such answer has unless it says otherwise. */
export const header = (
  description: string,
  { required = true, schema = { type: 'string' } }: HeaderMore = {},
): { description: string } & Required<HeaderMore> => ({ description, required, schema })

/** A header of a request. */
export const headerOf = (
  name: string,
  description: string,
  { required = false, schema = { type: 'string' } }: HeaderMore = {},
): ZodOpenApiParameterObject => ({ name, in: 'header', description, required, schema })

/** An answer that is JSON. */
export const json = (
  description: string,
  schema: z.ZodType,
  headers?: ZodOpenApiResponseObject['headers'],
): ZodOpenApiResponseObject => ({
  description,
  ...(headers && { headers }),
  content: { 'application/json': { schema } },
})

/** A body that is JSON. */
export const jsonBody = (schema: z.ZodType, { required = true } = {}): Operation['requestBody'] => ({
  required,
  content: { 'application/json': { schema } },
})

type Form = 'problem' | 'text' | 'none'

/** The refusals of a route behind a login: those of its own, and those that all such have. */
export const refusals = (...codes: ErrorCode[]): Responses => grouped('problem', [...BEHIND_LOGIN, ...codes])
/** The same of a route that asks for no login. */
export const refusalsToAnybody = (...codes: ErrorCode[]): Responses => grouped('problem', codes)
/** The same of the tus door, which answers in text. */
export const refusalsInText = (...codes: ErrorCode[]): Responses => grouped('text', [...BEHIND_LOGIN, ...codes])
/** The same of HEAD: the code is in a header. */
export const refusalsOfHead = (...codes: ErrorCode[]): Responses => grouped('none', [...BEHIND_LOGIN, ...codes])

function grouped(form: Form, codes: readonly ErrorCode[]): Responses {
  const all = [...new Set([...ANYWHERE, ...codes])]
  const byStatus = Map.groupBy(all, (code) => STATUS[code])
  return Object.fromEntries(Array.from(byStatus, ([status, those]) => [status, refusal(form, status, those)]))
}

const refusal = (form: Form, status: number, codes: readonly ErrorCode[]): ZodOpenApiResponseObject => ({
  description: codes.map((code) => `\`${code}\`: ${MEANING[code]}`).join('\n\n'),
  headers: {
    ...(status === 401 && { 'WWW-Authenticate': header('`Bearer`, and whether a token was there.') }),
    ...(status >= 500 && { 'Retry-After': header('Seconds, where trying again helps.', { required: false }) }),
    ...(status === 405 && { Allow: header('The methods that the address takes.') }),
    ...(form === 'none' && { 'Error-Code': header('The code.', { schema: { type: 'string', enum: [...codes] } }) }),
  },
  ...(form === 'problem' && {
    content: {
      'application/problem+json': {
        schema: { allOf: [{ $ref: '#/components/schemas/Problem' }, { properties: { code: { enum: [...codes] } } }] },
      },
    },
  }),
  ...(form === 'text' && {
    content: { 'text/plain': { schema: { type: 'string', pattern: `^(${codes.join('|')}): .+\\n$` } } },
  }),
})

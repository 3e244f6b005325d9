/**
 * What lists take: how many, from where on, and times.
 *
 * A cursor is the place of the last row that was seen, and the name of the order that it is one of. Clients know it as opaque.
 */
import { z } from 'zod'
import { ServiceError } from '../errors.ts'
import { wholeNumberInText } from './plain-words.ts'

export const DEFAULT_LIMIT = 50
const MAX_LIMIT = 200

export const limitSchema = wholeNumberInText(1, MAX_LIMIT)
  .default(DEFAULT_LIMIT)
  .describe(`${DEFAULT_LIMIT} where it is left out.`)

/** In an answer. */
export const nextCursorAnswer = z.string().nullable().describe('Of the next page; null on the last one.')

interface Place {
  value: number
  id: string
}

/** @param order empty for the one that a list has by itself */
export const cursorOf = (order: string, { value, id }: Place): string =>
  Buffer.from(`${order}${value} ${id}`).toString('base64url')

const FORM = /^([a-z]*)(-?\d{1,16}(?:\.\d{1,20})?) ([A-Za-z0-9_-]{1,64})$/
const NOT_OURS = 'is not one that this list gave'

export const cursorSchema = z
  .string()
  .transform((text, context) => {
    const [, order = '', value, id] = FORM.exec(Buffer.from(text, 'base64url').toString('latin1')) ?? []
    if (value === undefined || id === undefined) {
      context.addIssue({ code: 'custom', message: NOT_OURS })
      return z.NEVER
    }
    return { order, value: Number(value), id }
  })
  .describe('The `next_cursor` of the page before.')

export type Cursor = z.output<typeof cursorSchema>

/** @param isWhole whether the order is one of whole numbers @throws ServiceError `invalid_parameter` for another order's */
export function placeIn(cursor: Cursor | undefined, order: string, isWhole = true): Place | undefined {
  if (!cursor) return undefined
  if (cursor.order !== order || (isWhole && !Number.isSafeInteger(cursor.value))) {
    throw new ServiceError('invalid_parameter', `The parameter cursor is not valid: it ${NOT_OURS}.`)
  }
  return { value: cursor.value, id: cursor.id }
}

/** A time, as milliseconds. */
export const timeInText = z.iso.datetime({ offset: true }).transform((text) => Date.parse(text))

/** Seconds, which may be a fraction. */
export const secondsInText = z
  .string()
  .regex(/^\d{1,9}(?:\.\d{1,9})?$/, 'must be a number of seconds, 0 or more')
  .transform(Number)

export const textSought = z.string().min(1).max(200)
export const truthInText = z.enum(['true', 'false']).transform((text) => text === 'true')

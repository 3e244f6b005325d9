/**
 * Ids: 1–64 characters of a set that is safe in a URL and in a file name. Ours are UUIDs that rise with time. Callers come
 * from elsewhere, and are named as they are there.
 */
import { randomUUID } from 'node:crypto'
import { z } from 'zod'

export const ID_PATTERN = /^[A-Za-z0-9_-]{1,64}$/

export const idSchema = z.string().regex(ID_PATTERN, 'must be 1 to 64 characters of A-Z a-z 0-9 _ -')

export const isId = (value: unknown): value is string => typeof value === 'string' && ID_PATTERN.test(value)

/**
 * A caller's id is any text of 1–255 characters (`auth0|5f7c`, an e-mail address), so it goes into no path and no file name.
 * Control characters are left out, and halves of surrogate pairs, which the database would take for one another.
 */
export const CALLER_ID_PATTERN = /^[^\p{Cc}\p{Cs}]{1,255}$/u

export const callerIdSchema = z
  .string()
  .regex(CALLER_ID_PATTERN, 'must be 1 to 255 characters without control characters')

export const isCallerId = (value: unknown): value is string =>
  typeof value === 'string' && CALLER_ID_PATTERN.test(value)

/**
 * A UUID of version 7 (RFC 9562 §5.7), the time in milliseconds and 74 random bits: new rows come to lie beside each other
 * in the indexes, so that a commit of many writes few pages.
 */
export function newId(): string {
  const time = Date.now().toString(16).padStart(12, '0')
  // Its fifteenth character is the version.
  return `${time.slice(0, 8)}-${time.slice(8)}-7${randomUUID().slice(15)}`
}

/** Ids: 1–64 characters of a set that is safe in a URL and in a file name. Ours are UUIDs that rise with time. */
import { randomUUID } from 'node:crypto'

export const ID_PATTERN = /^[A-Za-z0-9_-]{1,64}$/

export const isId = (value: unknown): value is string => typeof value === 'string' && ID_PATTERN.test(value)

/**
 * A UUID of version 7 (RFC 9562 §5.7), the time in milliseconds and 74 random bits: new rows come to lie beside each other
 * in the indexes, so that a commit of many writes few pages.
 */
export function newId(): string {
  const time = Date.now().toString(16).padStart(12, '0')
  // Its fifteenth character is the version.
  return `${time.slice(0, 8)}-${time.slice(8)}-7${randomUUID().slice(15)}`
}

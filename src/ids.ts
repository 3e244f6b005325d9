/** Ids: 1–64 characters of a set that is safe in a URL and in a file name. Ours are UUIDs that rise with time. */
import { v7 } from 'uuid'

export const ID_PATTERN = /^[A-Za-z0-9_-]{1,64}$/

export const isId = (value: unknown): value is string => typeof value === 'string' && ID_PATTERN.test(value)

/**
 * A UUID of version 7 (RFC 9562 §5.7): new rows come to lie beside each other in the indexes, so that a commit of many
 * writes few pages. Its end is random, its beginning is the time.
 */
export const newId = (): string => v7()

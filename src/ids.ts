/** Ids: 1–64 characters of a set that is safe in a URL and in a file name. Ours are UUIDs. */
import { randomUUID } from 'node:crypto'

export const ID_PATTERN = /^[A-Za-z0-9_-]{1,64}$/

export const isId = (value: unknown): value is string => typeof value === 'string' && ID_PATTERN.test(value)

export const newId = (): string => randomUUID()

/**
 * The `Idempotency-Key` header (draft-ietf-httpapi-idempotency-key-header): a creation that may have happened is asked
 * for again, and gives what is there.
 *
 * A key counts for one caller and one lead. It stands in its upload's row, and that stays for as long as the upload's
 * recording does, or for `KEPT_MS` after an upload's end. An upload that ended without a recording gives its key back to
 * the next request: a client that repeats it wants the recording in, not the news that it failed.
 */
import { createHash } from 'node:crypto'
import { ServiceError } from '../errors.ts'

const MAX_CHARACTERS = 255

/** A key outlives the end of its upload by so much, whatever became of its recording: answers are lost for long. */
export const KEPT_MS = 30 * 86_400_000

export interface Idempotency {
  key: string
  /** Of all that a repeat must say again. */
  fingerprint: string
}

export const otherRequest = () =>
  new ServiceError('idempotency_conflict', 'This Idempotency-Key was used for a request that said something else.')

/**
 * The key and the fingerprint of a request; undefined without the header.
 *
 * The draft wants a string of RFC 8941 (§3.3.3), in quotes; clients that send the bare value mean the same.
 *
 * @param header `Idempotency-Key` as it came
 * @param said all that a repeat must say again, by what it means: not by its bytes, nor by an order that means nothing
 * @throws ServiceError `invalid_parameter`
 */
export function idempotencyOf(
  header: string | string[] | undefined,
  said: readonly (string | number | null | undefined)[],
): Idempotency | undefined {
  if (header === undefined) return undefined
  const text = String(header).trim()
  const quoted = /^"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"$/.exec(text)?.[1]?.replace(/\\(["\\])/g, '$1')
  const key = quoted ?? (/^[\x21\x23-\x7e]+$/.test(text) ? text : '')
  if (key === '' || key.length > MAX_CHARACTERS) {
    throw new ServiceError(
      'invalid_parameter',
      `The header Idempotency-Key must be 1 to ${MAX_CHARACTERS} characters of ASCII, in double quotes.`,
    )
  }
  const fingerprint = createHash('sha256').update(JSON.stringify(said)).digest('base64url')
  return { key, fingerprint }
}

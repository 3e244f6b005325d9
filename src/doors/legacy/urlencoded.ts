/**
 * Forms as `application/x-www-form-urlencoded` (WHATWG URL § 5), with the one field that is large left where it is.
 */
import { ServiceError } from '../../errors.ts'

/** What a form may have beside its chunk, in bytes. */
const MAX_REST_BYTES = 64 * 1024

const AMPERSAND = 0x26
const PERCENT = 0x25
const PLUS = 0x2b

/** Undoes the encoding in place; gives the new end. */
function decodeInPlace(body: Buffer, start: number, end: number): number {
  let to = start
  for (let at = start; at < end; at++) {
    const byte = body[at] as number
    const hex = byte === PERCENT ? body.toString('latin1', at + 1, Math.min(at + 3, end)) : ''
    if (/^[0-9a-f]{2}$/i.test(hex)) {
      body[to++] = Number.parseInt(hex, 16)
      at += 2
    } else body[to++] = byte === PLUS ? 0x20 : byte
  }
  return to
}

/**
 * The fields, of those with one name the last, and the bytes of `chunk`, a view of `body`, which is written over.
 *
 * @throws ServiceError `too_large` when more than 64 KiB are beside the chunk
 */
export function readUrlencoded(body: Buffer): { params: Record<string, string>; chunk: Buffer | undefined } {
  let chunk: { start: number; end: number } | undefined
  for (let start = 0; start < body.length; ) {
    const next = body.indexOf(AMPERSAND, start)
    const end = next < 0 ? body.length : next
    if (body.toString('latin1', start, start + 6) === 'chunk=') chunk = { start: start + 6, end }
    start = end + 1
  }
  const rest = chunk ? Buffer.concat([body.subarray(0, chunk.start), body.subarray(chunk.end)]) : body
  if (rest.length > MAX_REST_BYTES) {
    throw new ServiceError('too_large', `A form may have ${MAX_REST_BYTES} bytes beside its chunk.`)
  }
  const params = Object.fromEntries(new URLSearchParams(rest.toString()))
  delete params.chunk
  return { params, chunk: chunk && body.subarray(chunk.start, decodeInPlace(body, chunk.start, chunk.end)) }
}

/**
 * What a request has beside its chunk: bounded, and counted as it is read, so that no more of it than may be there is ever
 * looked at.
 */
import { ServiceError } from '../../errors.ts'

/** In bytes. */
export const MAX_REST_BYTES = 64 * 1024

/** Where the text of a chunk is, still encoded. */
export interface Span {
  start: number
  end: number
}

export const tooMuchBeside = () =>
  new ServiceError('too_large', `A request may have ${MAX_REST_BYTES} bytes beside its chunk.`)

/** The body without its chunk. @throws ServiceError `too_large` */
export function restOf(body: Buffer, chunk: Span | undefined): string {
  const rest = chunk ? Buffer.concat([body.subarray(0, chunk.start), body.subarray(chunk.end)]) : body
  if (rest.length > MAX_REST_BYTES) throw tooMuchBeside()
  return rest.toString()
}

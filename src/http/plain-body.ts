/**
 * Bytes that come as they are: a recording is stored as it was sent, so a coding on top would be stored with it.
 */
import type { IncomingHttpHeaders } from 'node:http'
import { ServiceError } from '../errors.ts'

const isPlain = (codings: string | undefined, plain: RegExp) =>
  (codings ?? '').split(',').every((coding) => plain.test(coding.trim()))

const coded = () =>
  new ServiceError('unsupported_media_type', 'The bytes must come as they are: without a Content-Encoding.', {
    headers: { 'Accept-Encoding': 'identity' },
  })

/** @throws ServiceError 415 for a body that is compressed, by `Content-Encoding` or by `Transfer-Encoding` */
export function assertPlain(headers: IncomingHttpHeaders): void {
  if (!isPlain(headers['content-encoding'], /^(identity)?$/i)) throw coded()
  if (!isPlain(headers['transfer-encoding'], /^(chunked)?$/i)) throw coded()
}

/**
 * The same for a part of a form; a part's transfer encoding is obsolete (RFC 7578 §4.7), and old libraries say `binary`.
 *
 * @throws ServiceError 415
 */
export function assertPlainPart(contentEncoding: string | undefined, transferEncoding: string | undefined): void {
  if (!isPlain(contentEncoding, /^(identity)?$/i)) throw coded()
  if (!isPlain(transferEncoding, /^(7bit|8bit|binary)?$/i)) {
    throw new ServiceError('unsupported_media_type', 'A part of a form must come as it is: in binary.')
  }
}

/**
 * The checksum of one request's body (tus 1.0 § Checksum), taken while the bytes pass.
 *
 * It comes with the headers, or behind a chunked body in the trailers, if the request announces it there: which
 * algorithm a trailer will name is known only at the end, so all are taken. Node hands over trailers of HTTP/1.1 as they
 * came; a proxy in between may drop them.
 */
import { createHash, type Hash } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { ServiceError } from '../../errors.ts'
import type { BodyCheck } from '../../storage/staging.ts'

/** For `Tus-Checksum-Algorithm`: what is worth using first. */
export const CHECKSUM_ALGORITHMS = ['sha256', 'sha1', 'sha512', 'md5'] as const

type Algorithm = (typeof CHECKSUM_ALGORITHMS)[number]

const isAlgorithm = (name: string): name is Algorithm => (CHECKSUM_ALGORITHMS as readonly string[]).includes(name)

/** As much of a request as is read here. */
interface Checked {
  headers: IncomingHttpHeaders
  /** Filled once the body has ended. */
  trailers: NodeJS.Dict<string>
}

/** @throws ServiceError `invalid_parameter` or `invalid_checksum_algorithm` */
function promised(header: string): { algorithm: Algorithm; digest: Buffer } {
  const [, algorithm, base64 = ''] = /^(\S+) ([A-Za-z0-9+/]+={0,2})$/.exec(header) ?? []
  if (algorithm === undefined) {
    throw new ServiceError('invalid_parameter', 'Upload-Checksum must be an algorithm, a space and Base64.')
  }
  if (!isAlgorithm(algorithm)) {
    throw new ServiceError(
      'invalid_checksum_algorithm',
      `Upload-Checksum may be of ${CHECKSUM_ALGORITHMS.join(', ')}, and of no other algorithm.`,
    )
  }
  return { algorithm, digest: Buffer.from(base64, 'base64') }
}

const isAnnounced = (headers: IncomingHttpHeaders) =>
  (headers.trailer ?? '').split(',').some((name) => name.trim().toLowerCase() === 'upload-checksum')

/**
 * What a request's body must sum up to; undefined when the request promises nothing.
 *
 * @throws ServiceError 400 for a sum that can't be read, now or, of a trailer, when it is asked whether the sum holds
 */
export function checksumOf(req: Checked): BodyCheck | undefined {
  const header = req.headers['upload-checksum']
  if (typeof header !== 'string' && !isAnnounced(req.headers)) return undefined
  const early = typeof header === 'string' ? promised(header) : undefined
  const hashes = new Map<Algorithm, Hash>()
  for (const algorithm of early ? [early.algorithm] : CHECKSUM_ALGORITHMS) {
    hashes.set(algorithm, createHash(algorithm))
  }
  return {
    update(bytes) {
      for (const hash of hashes.values()) hash.update(bytes)
    },
    holds() {
      const { algorithm, digest } = early ?? promised(req.trailers['upload-checksum'] ?? '')
      return hashes.get(algorithm)?.digest().equals(digest) ?? false
    },
  }
}

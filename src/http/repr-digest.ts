/**
 * `Repr-Digest` (RFC 9530): the SHA-256 of a recording, in an answer or as a client promises it.
 *
 * Pure, and of SHA-256 alone: a digest of another algorithm is passed over, as the RFC allows.
 */
import { ServiceError } from '../errors.ts'

/** The header's value for a SHA-256 in hex. */
export const reprDigest = (sha256: string): string => `sha-256=:${Buffer.from(sha256, 'hex').toString('base64')}:`

/** A member of a dictionary of byte sequences (RFC 9651 §3.2, §3.3.5), parameters aside. */
const MEMBER = /^[ \t]*([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/]*={0,2}):[ \t]*(?:;[^,]*)?$/

/**
 * The SHA-256 (hex) that a `Repr-Digest` header promises; undefined when it promises none.
 *
 * @throws ServiceError `invalid_parameter` for a header that is not of the RFC's form: a promise that can't be read is
 *   not one that was kept
 */
export function sha256In(header: string | undefined): string | undefined {
  let sha256: string | undefined
  if (header === undefined) return undefined
  for (const member of header.split(',')) {
    const [, algorithm, base64 = ''] = MEMBER.exec(member) ?? []
    const digest = Buffer.from(base64, 'base64')
    if (algorithm === undefined || (algorithm === 'sha-256' && digest.length !== 32)) {
      throw new ServiceError('invalid_parameter', 'Repr-Digest must be of the form sha-256=:BASE64: (RFC 9530).')
    }
    // Of a key that comes twice, the last counts (RFC 9651 §4.2.2).
    if (algorithm === 'sha-256') sha256 = digest.toString('hex')
  }
  return sha256
}

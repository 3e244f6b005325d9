/**
 * Which check a token failed, in words for the reader of the log.
 *
 * The client is told nothing of it: without a good token it may not learn what one would have to say.
 * What the token says is repeated only as far as it tells keys, issuers and audiences apart.
 */
import { decodeProtectedHeader, errors, type ProtectedHeaderParameters } from 'jose'
import type { Config } from '../config/config.ts'

const MAX_SHOWN = 100

const shown = (value: unknown): string => {
  const text = JSON.stringify(value) ?? 'missing'
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text
}

function headerOf(token: string): ProtectedHeaderParameters {
  try {
    return decodeProtectedHeader(token)
  } catch {
    return {}
  }
}

const CONFIGURED = { iss: 'issuer', aud: 'audience' } as const

/** @param error what jose threw at it */
export function failedCheck(error: unknown, token: string, config: Config['auth']): string {
  const { alg, kid } = headerOf(token)
  if (error instanceof errors.JWTExpired) return `exp: it was ${shown(error.payload.exp)}`
  if (error instanceof errors.JWTClaimValidationFailed) {
    const { claim, payload } = error
    const expected = claim === 'iss' || claim === 'aud' ? `, expected ${shown(config[CONFIGURED[claim]])}` : ''
    return `${claim}: it is ${shown(payload[claim])}${expected}`
  }
  if (error instanceof errors.JWSSignatureVerificationFailed) {
    return `signature: made with another key (alg ${shown(alg)}, kid ${shown(kid)})`
  }
  if (error instanceof errors.JWKSNoMatchingKey) return `key: the set has none for alg ${shown(alg)}, kid ${shown(kid)}`
  if (error instanceof errors.JOSEAlgNotAllowed) {
    return `alg: it is ${shown(alg)}, expected ${config.algorithms.join(' or ')}`
  }
  return `form: ${error instanceof Error ? error.message : String(error)}`
}

/**
 * What each address takes: whoever asks one for something else is told (RFC 9110 §15.5.6), rather than that there is none.
 */
import { Router } from 'express'
import { ServiceError } from '../errors.ts'

export const methodNotAllowed = (allow: string) =>
  new ServiceError('method_not_allowed', `This address does not take that method; it takes ${allow}.`, {
    headers: { Allow: allow },
  })

/** Of every route but the tus door's, which says it itself. */
export const ADDRESSES: readonly (readonly [path: string, allow: string])[] = [
  ['/livez', 'GET, HEAD, OPTIONS'],
  ['/readyz', 'GET, HEAD, OPTIONS'],
  ['/metrics', 'GET, HEAD, OPTIONS'],
  ['/openapi.json', 'GET, HEAD, OPTIONS'],
  ['/docs', 'GET, HEAD, OPTIONS'],
  ['/docs/:file', 'GET, HEAD, OPTIONS'],
  ['/api/me', 'GET, HEAD, OPTIONS'],
  ['/api/leads', 'GET, HEAD, OPTIONS'],
  ['/api/recordings', 'GET, HEAD, OPTIONS'],
  ['/api/statistics', 'GET, HEAD, OPTIONS'],
  ['/api/leads/:leadId', 'GET, HEAD, PUT, OPTIONS'],
  ['/api/leads/:leadId/call-logs', 'GET, HEAD, OPTIONS'],
  ['/api/leads/:leadId/call-logs/:callLogId', 'GET, HEAD, PUT, OPTIONS'],
  ['/api/leads/:leadId/recordings', 'GET, HEAD, POST, OPTIONS'],
  ['/api/leads/:leadId/recordings/:recordingId', 'GET, HEAD, DELETE, OPTIONS'],
  ['/api/leads/:leadId/recordings/:recordingId/details', 'GET, HEAD, OPTIONS'],
  ['/api/leads/:leadId/recordings/:recordingId/playback-links', 'POST, OPTIONS'],
]

/** What clients ask with; any other word is theirs. */
export const METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])

/** Of the tus door. */
export const TUS_ADDRESSES = ['/api/leads/:leadId/uploads', '/api/leads/:leadId/uploads/:uploadId'] as const

/** Mounted behind all routes: what comes here has an address that is known, or none. */
export function otherMethods(): Router {
  const router = Router()
  for (const [path, allow] of ADDRESSES) {
    router.all(path, () => {
      throw methodNotAllowed(allow)
    })
  }
  return router
}

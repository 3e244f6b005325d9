/**
 * Every failure a client can be told of: a stable code to act on, a sentence to read, and one table to HTTP.
 *
 * Throw where the fact is known; the status is looked up once, where the answer is written. Anything that is no
 * ServiceError is a fault of ours: it becomes `internal`, its details go to the log and never to the client.
 */

/** Code → status (RFC 9110 §15; 460 is tus' checksum extension). */
export const STATUS = {
  invalid_request: 400,
  invalid_parameter: 400,
  missing_parameter: 400,
  unknown_parameter: 400,
  too_broad: 400,
  invalid_metadata: 400,
  invalid_length: 400,
  invalid_checksum_algorithm: 400,
  incomplete_upload: 400,
  empty_upload: 400,
  call_log_mismatch: 400,
  unauthenticated: 401,
  token_expired: 401,
  link_invalid: 401,
  link_expired: 401,
  forbidden: 403,
  not_your_lead: 403,
  not_your_upload: 403,
  upload_is_final: 403,
  route_not_found: 404,
  lead_not_found: 404,
  call_log_not_found: 404,
  upload_not_found: 404,
  recording_not_found: 404,
  recording_file_missing: 404,
  method_not_allowed: 405,
  offset_conflict: 409,
  upload_closed: 409,
  idempotency_conflict: 409,
  conflict: 409,
  upload_expired: 410,
  upload_terminated: 410,
  precondition_failed: 412,
  unsupported_tus_version: 412,
  too_large: 413,
  unsupported_media_type: 415,
  range_not_satisfiable: 416,
  upload_locked: 423,
  checksum_mismatch: 460,
  internal: 500,
  unavailable: 503,
  busy: 503,
  too_many_uploads: 503,
  shutting_down: 503,
  finish_failed: 503,
  insufficient_storage: 507,
} as const

export type ErrorCode = keyof typeof STATUS

export interface ServiceErrorOptions {
  /** Extra response headers, such as Retry-After or Content-Range. */
  headers?: Record<string, string>
  /** Extra members of the problem document, such as `missing_chunks`. */
  members?: Record<string, unknown>
  /** What really happened; for the log only. */
  cause?: unknown
}

export class ServiceError extends Error {
  override name = 'ServiceError'
  readonly code: ErrorCode
  readonly headers: Record<string, string>
  readonly members: Record<string, unknown>

  /** @param message one sentence for the client: no path, no SQL, no stack */
  constructor(code: ErrorCode, message: string, options: ServiceErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.headers = options.headers ?? {}
    this.members = options.members ?? {}
  }

  get status(): number {
    return STATUS[this.code]
  }
}

/** Seconds a client should wait before it asks again after a passing fault of ours. */
const RETRY_AFTER_SECONDS = '2'

/** A fault that passes: the client is told when to come back, the cause goes to the log. */
export const passing = (code: ErrorCode, message: string, cause?: unknown) =>
  new ServiceError(code, message, { headers: { 'Retry-After': RETRY_AFTER_SECONDS }, cause })

/** The body is of a type that is not taken; the answer lists those that are (RFC 9110 §15.5.16). */
export const typeNotTaken = (sentence: string, taken: readonly string[]) =>
  new ServiceError('unsupported_media_type', sentence, { headers: { Accept: taken.join(', ') } })

/** What of a tus body came and is kept is told by its offset; of a form nothing is. */
export const shuttingDown = () =>
  new ServiceError('shutting_down', 'The service is restarting; try again shortly.', {
    headers: { 'Retry-After': RETRY_AFTER_SECONDS, Connection: 'close' },
  })

export const rangeNotSatisfiable = (size: number) =>
  new ServiceError('range_not_satisfiable', `The recording has ${size} bytes; no byte asked for exists.`, {
    headers: { 'Content-Range': `bytes */${size}` },
  })

const errnoOf = (error: unknown): string | undefined => {
  for (let e = error; e instanceof Error; e = e.cause) {
    const { code } = e as NodeJS.ErrnoException
    if (typeof code === 'string') return code
  }
  return undefined
}

/** A row of ours breaks a rule of its table: to try again changes nothing. */
const BROKEN_RULE = /^SQLITE_CONSTRAINT/

const NO_SPACE = new Set(['ENOSPC', 'EDQUOT', 'EFBIG', 'SQLITE_FULL'])
const PASSING = new Set(['EMFILE', 'ENFILE', 'EIO', 'EACCES', 'EPERM', 'EROFS', 'EBUSY', 'EAGAIN', 'ENOMEM', 'ENOENT'])

/** It is no fault of ours, so to try again changes nothing as things stand. */
export const isRefusal = (error: ServiceError): boolean => error.status < 500

/**
 * What a client is told of any thrown value.
 *
 * A ServiceError is itself; a full disk is 507; other faults of the disk or the database are 503, since they pass
 * when the operator acts and the client must try again; the rest is a 500 that says nothing.
 */
export function asServiceError(error: unknown): ServiceError {
  if (error instanceof ServiceError) return error
  const errno = errnoOf(error)
  if (errno !== undefined && NO_SPACE.has(errno)) {
    return passing('insufficient_storage', 'The storage is full; nothing that was acknowledged is lost.', error)
  }
  if (errno !== undefined && (PASSING.has(errno) || (errno.startsWith('SQLITE_') && !BROKEN_RULE.test(errno)))) {
    return passing('unavailable', 'The service cannot reach its storage just now; try again shortly.', error)
  }
  return new ServiceError('internal', 'The service failed; the fault has been logged.', { cause: error })
}

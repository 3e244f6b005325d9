/**
 * Whether an upload can be gone on with, as its owner's row has it.
 */
import { ServiceError } from '../errors.ts'
import type { Ground } from './core.ts'
import type { Owned, Row } from './ownership.ts'
import { closed, expiryOf, isWhole } from './upload.ts'

type Patience = Pick<Ground, 'silence' | 'limits'>

export const isExpired = ({ silence, limits }: Patience, row: Row): boolean =>
  row.state === 'receiving' && !isWhole(row) && silence.nowMs() > expiryOf(row, limits.expiresAfterMs)

/** @throws ServiceError 410 for an upload that ended without a recording */
export function assertAlive(patience: Patience, row: Row): void {
  if (row.state === 'expired' || isExpired(patience, row)) {
    throw new ServiceError('upload_expired', 'This upload was silent for too long and has expired.')
  }
  if (row.state === 'concatenated') {
    throw new ServiceError('upload_terminated', 'This upload has become part of another one.')
  }
  if (row.state === 'terminated') throw new ServiceError('upload_terminated', 'This upload has been terminated.')
  if (row.state === 'rejected')
    throw new ServiceError('upload_terminated', 'This upload was not what it promised to be.')
}

/** The alarm, and 410: what was acknowledged is not there any more. */
export function bytesMissing(
  { ownership, events }: Pick<Ground, 'ownership' | 'events'>,
  owned: Owned,
  cause?: unknown,
): ServiceError {
  const { id, leadId, offset } = owned.row
  ownership.forget(owned)
  events.uploadBytesMissing({ uploadId: id, leadId, offset })
  return new ServiceError('upload_expired', 'The bytes of this upload are gone; start a new one.', { cause })
}

/** @throws ServiceError 410 for an upload that ended without a recording, or whose bytes are gone */
export function assertUsable(ground: Ground, owned: Owned): void {
  assertAlive(ground, owned.row)
  if (owned.missing) throw bytesMissing(ground, owned)
}

/** @throws ServiceError `upload_closed` for an upload whose length is fixed, and as `assertUsable` does */
export function assertDeferred(ground: Ground, owned: Owned): void {
  assertUsable(ground, owned)
  if (owned.row.state !== 'receiving' || owned.row.length !== null) throw closed()
}

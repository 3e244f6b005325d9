/**
 * What stays of an upload when the request that created it ends without a 201.
 *
 * | how it ended | under a key | without |
 * |---|---|---|
 * | refused: too long, a sum that does not hold, the lead lost meanwhile | goes | goes |
 * | refused, but a repeat was told of the upload before | stays | |
 * | displaced: another request has the upload (423) | stays | stays: its address is known |
 * | cut, timed out: the line died or fell silent | stays | goes |
 * | drained, full, unavailable (503, 507, 500) | stays | goes |
 *
 * An upload goes when no request can ever name it: the answer gave no address, and without a key its client creates anew. An
 * upload that stays goes on where it stands, and expires in the end. A creation that is whole, and only its finish failed, is
 * answered 201 and never comes here. PATCH, HEAD and DELETE of others end nothing: their upload stays in every case.
 */
import type { ServiceError } from '../../errors.ts'

/** A creation that has ended. */
export interface EndedCreation {
  error?: ServiceError
  /** The line died before all had come. */
  cut?: boolean
  isKeyed: boolean
  /** A repeat of the creation was told of the upload. */
  isKnown?: boolean
}

/** Whether no client can go on with the upload. */
export function isAbandoned({ error, cut, isKeyed, isKnown }: EndedCreation): boolean {
  if (isKnown || error?.code === 'upload_locked') return false
  if (error !== undefined && error.status < 500) return true
  return (error !== undefined || cut === true) && !isKeyed
}

/**
 * The beginning of an upload: its row, under the caller's limit, within the room there is, and once for each key.
 */
import { type Statement, UniqueViolation } from '../db/database.ts'
import { keyFreed, uploadAdded, uploadIdUnderKey } from '../db/uploads.ts'
import { shuttingDown } from '../errors.ts'
import { stillMay } from '../leads/rights.ts'
import type { Core } from './core.ts'
import { type Idempotency, otherRequest } from './idempotency.ts'
import { ownedOf, type Row } from './ownership.ts'
import { isFinal } from './parts.ts'
import { onceUnsealed } from './seals.ts'
import { isOpen, isWhole, newRow, tooLarge, type UploadIntent } from './upload.ts'
import { isExpired } from './usable.ts'

const keyOf = ({ caller, leadId }: UploadIntent, { key }: Idempotency) => ({ callerId: caller.id, leadId, key })

/** The caller may still upload to the lead, for this call, when the upload is recorded. */
export const rightsOf = ({ caller, leadId, callLogId }: UploadIntent): Statement =>
  stillMay({ caller, act: 'upload', leadId, callLogId })

/** The upload that the caller began under this key, unless it has ended without a recording. @throws ServiceError `idempotency_conflict` */
export async function earlier(core: Core, intent: UploadIntent, idempotency: Idempotency): Promise<Row | undefined> {
  const { db, ownership, seals } = core
  const id = await uploadIdUnderKey(db, keyOf(intent, idempotency))
  if (id === undefined) return undefined
  // The sweep may be ending it just now. A finish of one that is whole can be joined.
  if (!isWhole(await ownership.find(id))) await onceUnsealed(async () => seals.assertUnsealed(id))
  const row = await ownership.find(id)
  if ((!isOpen(row) && row.recordingId === null) || isExpired(core, row)) return undefined
  if (row.idempotencyFingerprint !== idempotency.fingerprint) throw otherRequest()
  return row
}

/** Takes the key from an upload that ended without a recording: the next one may have it. */
export const freeKey = ({ silence, limits }: Core, intent: UploadIntent, idempotency: Idempotency): Statement =>
  keyFreed(keyOf(intent, idempotency), { nowMs: silence.nowMs(), expiresAfterMs: limits.expiresAfterMs })

/**
 * Records a new upload; its file comes with its first byte. Under a key that an upload has already, gives that one.
 *
 * @throws ServiceError `shutting_down`, `too_large`, `too_many_uploads`, `insufficient_storage` or
 *   `idempotency_conflict`, before anything is kept
 */
export async function begin(core: Core, intent: UploadIntent): Promise<Row> {
  const { space, clock, limits, callersLimit, ends } = core
  if (core.isDraining()) throw shuttingDown()
  const { idempotency } = intent
  const known = idempotency && (await earlier(core, intent, idempotency))
  if (known) return known
  if (intent.length !== null && intent.length > limits.maxBytes) throw tooLarge(limits.maxBytes)
  await space.reserve({
    id: intent.id,
    callerId: intent.caller.id,
    length: intent.length ?? intent.expectedBytes ?? 0,
    offset: 0,
    // The simple door's has its bytes on their way.
    givesWay: intent.door !== 'simple',
  })
  const row = newRow(intent, clock.now())
  if (intent.bytesFollow) callersLimit.bytesFollow(row.id)
  let gaveWay: string[]
  try {
    const keyed = idempotency ? [freeKey(core, intent, idempotency)] : []
    gaveWay = await callersLimit.begin(row.callerId, (room) => [rightsOf(intent), ...room, ...keyed, uploadAdded(row)])
  } catch (error) {
    space.release(row.id)
    // The same request, twice at once.
    const winner =
      idempotency && error instanceof UniqueViolation ? await earlier(core, intent, idempotency) : undefined
    if (winner) return winner
    throw error
  }
  begun(core, row)
  for (const id of gaveWay) await ends.gaveWay(id)
  return row
}

/** The table has it: from now on memory does too. */
export function begun({ events, staging, ownership }: Core, row: Row): void {
  events.uploadCreated({
    uploadId: row.id,
    leadId: row.leadId,
    callerId: row.callerId,
    door: row.door,
    length: row.length,
  })
  // What segments a final upload has got from its parts, the table says.
  if (!(staging.segmented && isFinal(row))) ownership.add(ownedOf(row, staging.of(row.id)))
}

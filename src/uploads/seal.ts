/**
 * The length of an upload that deferred it: declared by its client, or fixed together with its call when all has come. The
 * caller owns it.
 */
import type { Statement } from '../db/database.ts'
import { lengthDeclared, uploadSealed } from '../db/uploads.ts'
import { ServiceError } from '../errors.ts'
import { commit } from './commit.ts'
import type { Core } from './core.ts'
import type { Owned } from './ownership.ts'
import { isPartial } from './parts.ts'
import { emptyUpload, keyFor, roomFor, tooLarge } from './upload.ts'
import { assertDeferred, assertUsable, bytesMissing } from './usable.ts'

/** What an upload of deferred length becomes. */
export interface Seal {
  /** Bytes, all of them there. */
  length: number
  callLogId: string
  /** What is true from the same moment on. */
  also?: readonly Statement[]
}

/**
 * Fixes the length and the call of an upload that deferred them, once; what can follow is its finish.
 *
 * @throws ServiceError `upload_closed` or `insufficient_storage`
 */
export async function seal(core: Core, owned: Owned, { length, callLogId, also = [] }: Seal): Promise<void> {
  const { space, clock } = core
  const { row, staged } = owned
  assertDeferred(core, owned)
  if (length !== row.offset) throw new Error(`${row.offset} bytes of an upload cannot be sealed as ${length}`)
  await space.reserve({ id: row.id, length, offset: length })
  const size = staged.sizeAtHand() ?? (await staged.size()) ?? 0
  if (size < length) throw bytesMissing(core, owned)
  // What lies beyond was written, and never acknowledged.
  if (size > length) await staged.truncate(length)
  const key = row.key ?? keyFor(row, callLogId, clock.now())
  const sealed = uploadSealed({ id: row.id, length, callLogId, key, expected: owned.savedOffset })
  await commit(core, owned, sealed, { state: 'finishing', length, callLogId, key }, also)
}

/** Fixes the length of an upload that deferred it. @throws ServiceError `too_large`, `insufficient_storage`, `invalid_length` */
export async function declareLength(core: Core, owned: Owned, length: number): Promise<void> {
  const { space, limits } = core
  const { row } = owned
  assertUsable(core, owned)
  if (row.length !== null || length < row.offset) {
    throw new ServiceError('invalid_length', 'The length is declared once, and no shorter than what has come.')
  }
  if (length === 0 && !isPartial(row)) throw emptyUpload()
  if (length > limits.maxBytes) throw tooLarge(limits.maxBytes)
  await space.reserve({ ...roomFor(row, length), givesWay: row.offset === 0 })
  try {
    await commit(core, owned, lengthDeclared({ id: row.id, length }), { length })
  } catch (error) {
    space.release(row.id)
    throw error
  }
}

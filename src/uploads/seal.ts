/**
 * The length of an upload that deferred it: declared by its client, or fixed together with its call when all has come. The
 * caller holds the upload's lock.
 */
import { must, type Statement } from '../db/database.ts'
import { lengthDeclared, uploadSealed } from '../db/uploads.ts'
import { ServiceError } from '../errors.ts'
import type { Core } from './core.ts'
import { isPartial } from './parts.ts'
import type { Open } from './register.ts'
import { closed, emptyUpload, keyFor, roomFor, tooLarge } from './upload.ts'

/** What an upload of deferred length becomes. */
export interface Seal {
  /** Bytes, all of them there. */
  length: number
  callLogId: string
  /** What is true from the same moment on. */
  also?: readonly Statement[]
}

/**
 * Fixes the length and the call of an upload that deferred them, once; what can follow is its finish. The caller holds
 * the upload's lock.
 *
 * @throws ServiceError `upload_closed` or `insufficient_storage`
 */
export const seal = (core: Core, id: string, what: Seal): Promise<void> =>
  core.register.using(id, (open) => sealOpen(core, open, what))

async function sealOpen(core: Core, open: Open, { length, callLogId, also = [] }: Seal): Promise<void> {
  const { db, space, clock, register } = core
  const { row, staged } = open
  register.assertDeferred(open)
  if (length !== row.offset) throw new Error(`${row.offset} bytes of an upload cannot be sealed as ${length}`)
  await space.reserve({ id: row.id, length, offset: length })
  const size = staged.sizeAtHand() ?? (await staged.size()) ?? 0
  if (size < length) throw register.bytesMissing(row)
  // What lies beyond was written, and never acknowledged.
  if (size > length) await staged.truncate(length)
  const key = row.key ?? keyFor(row, callLogId, clock.now())
  await db.write(must(uploadSealed({ id: row.id, length, callLogId, key }), closed), ...also)
  Object.assign(row, { state: 'finishing', length, callLogId, key })
}

/** Fixes the length of an upload that deferred it. @throws ServiceError `too_large`, `insufficient_storage`, `invalid_length` */
export const declareLength = (core: Core, id: string, length: number): Promise<void> =>
  core.register.using(id, (open) => declareTo(core, open, length))

async function declareTo({ db, space, register, limits }: Core, open: Open, length: number): Promise<void> {
  const { id } = open.row
  register.assertUsable(open)
  if (open.row.length !== null || length < open.row.offset) {
    throw new ServiceError('invalid_length', 'The length is declared once, and no shorter than what has come.')
  }
  if (length === 0 && !isPartial(open.row)) throw emptyUpload()
  if (length > limits.maxBytes) throw tooLarge(limits.maxBytes)
  await space.reserve({ ...roomFor(open.row, length), givesWay: open.row.offset === 0 })
  try {
    await db.write(must(lengthDeclared({ id, length }), closed))
  } catch (error) {
    space.release(id)
    throw error
  }
  open.row.length = length
}

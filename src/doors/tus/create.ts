/**
 * POST: a creation, with its first bytes or without; or several partial uploads made into one.
 */
import { checksumOf } from './checksum.ts'
import { askedBy, type Context, type Exchange } from './context.ts'
import { exchange, type TusDoor } from './exchange.ts'
import { concatenate } from './final-upload.ts'
import { creationOf } from './headers.ts'

export async function create(door: TusDoor, at: Exchange): Promise<void> {
  const asked = await askedBy(door.db, at)
  const creation = creationOf(at.req.headers)
  const context: Context = { ...at, ...asked, creation, check: checksumOf(at.req), uploadId: undefined }
  if (creation.concat?.kind === 'final') return concatenate(door, context, creation.concat.addresses)
  try {
    await exchange(door, 'POST', context)
  } finally {
    if (context.creatingId !== undefined) door.creating.delete(context.creatingId)
  }
}

/**
 * POST: a creation, with its first bytes or without; or several partial uploads made into one.
 */
import type { Request, Response } from 'express'
import { checksumOf } from './checksum.ts'
import { concatenate } from './concatenate.ts'
import { askedBy, type Context } from './context.ts'
import { exchange, type TusDoor } from './exchange.ts'
import { creationOf } from './headers.ts'

export async function create(door: TusDoor, req: Request, res: Response): Promise<void> {
  const asked = await askedBy(door.db, req, res)
  const creation = creationOf(req.headers)
  const context: Context = { req, res, ...asked, creation, check: checksumOf(req), uploadId: undefined }
  if (creation.concat?.kind === 'final') return concatenate(door, context, creation.concat.addresses)
  try {
    await exchange(door, 'POST', context)
  } finally {
    if (context.creatingId !== undefined) door.creating.delete(context.creatingId)
  }
}

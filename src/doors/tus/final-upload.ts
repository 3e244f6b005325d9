/**
 * A final upload, made of partial ones: whole from the start, it is answered when it has become its recording
 * (§ Concatenation).
 */
import { newId } from '../../ids.ts'
import type { Finished } from '../../uploads/finish.ts'
import { onceUnsealed } from '../../uploads/seals.ts'
import { addressOfUpload, recordingHeaders } from './answers.ts'
import type { Context, TusParts } from './context.ts'
import { intentOf, keyOf, promised } from './creation.ts'
import { type Creation, partIdsIn } from './headers.ts'

export async function concatenate(parts: TusParts, context: Context, addresses: readonly string[]): Promise<void> {
  const { ingest, ownership } = parts
  const { req, res, lead } = context
  const creation = context.creation as Creation
  const concat = req.headers['upload-concat'] as string
  const partIds = partIdsIn(addresses, `/api/leads/${lead.id}/uploads`)
  const what = await promised(parts, context, creation)
  const idempotency = keyOf(req, creation, what.expectedSha256)
  const intent = { ...intentOf(context, newId()), concat, partIds, ...what, idempotency }
  const gone = new AbortController()
  res.once('close', () => gone.abort())
  // In one order for all, so that two requests for the same parts wait in a row and not for each other.
  const locked = [...partIds].sort().reduceRight<() => Promise<Finished>>(
    (work, id) => () => ownership.hold(id, gone.signal, work),
    () => onceUnsealed(() => ingest.concatenate(intent), gone.signal),
  )
  const { upload, recording } = await locked()
  res
    .status(201)
    .set({ Location: addressOfUpload(parts, req, upload), ...(await recordingHeaders(parts, req, upload, recording)) })
    .end()
}

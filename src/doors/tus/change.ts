/**
 * HEAD, PATCH and DELETE: an upload asked about, continued or ended.
 */
import { ServiceError } from '../../errors.ts'
import { isFinal } from '../../uploads/parts.ts'
import { checksumOf } from './checksum.ts'
import { askedBy, type Context, type Exchange } from './context.ts'
import type { EngineMethod } from './engine.ts'
import { exchange, type TusDoor } from './exchange.ts'
import { patchOf } from './headers.ts'
import { patch } from './patch.ts'

export async function change(door: TusDoor, method: EngineMethod | 'PATCH', at: Exchange): Promise<void> {
  const { caller, lead } = await askedBy(door.db, at)
  const { req } = at
  const uploadId = req.params.uploadId as string
  const upload = await door.ingest.findFor(caller, lead.id, uploadId)
  const context: Context = { ...at, caller, lead, uploadId }
  if (method !== 'PATCH') return exchange(door, method, context)
  const asked = patchOf(req.headers)
  context.check = checksumOf(req)
  if (upload.door !== 'tus') throw new ServiceError('forbidden', 'This upload takes no bytes by tus.')
  // § Concatenation: whatever state it is in.
  if (isFinal(upload)) throw new ServiceError('upload_is_final', 'A final upload takes no bytes of its own.')
  return patch(door, context, uploadId, asked)
}

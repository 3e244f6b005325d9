/**
 * The last byte of an upload has come: it becomes its recording within the request that brought it.
 */
import { asServiceError } from '../../errors.ts'
import { isPartial } from '../../uploads/parts.ts'
import { closed } from '../../uploads/upload.ts'
import type { Context, TusParts } from './context.ts'

/** @throws ServiceError; of a creation, only a refusal */
export async function finish({ ingest }: TusParts, context: Context, uploadId: string): Promise<void> {
  // § Concatenation: partial uploads are not processed until they form a final one.
  if (context.row && isPartial(context.row)) return
  try {
    const { upload, recording } = await ingest.finish(uploadId)
    context.row = upload
    context.recording = recording
  } catch (error) {
    // Its last byte was taken, and a DELETE came before its finish: of two steps at once the loser hears 409.
    if (asServiceError(error).code === 'upload_terminated') throw closed()
    // A creation that is told 503 is made again, and its call would be recorded twice. It hears of its upload, and
    // of nothing that has come: what it does next finds out.
    if (!context.creation || asServiceError(error).status < 500) throw error
    context.unfinished = true
  }
}

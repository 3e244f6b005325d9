/**
 * A request's hold on its upload.
 */
import type { Owned } from '../../uploads/ownership.ts'
import type { Context, TusParts } from './context.ts'

/**
 * Runs `work` while the request holds the upload; `context.row` is the row as it stands when it is given back.
 *
 * @param work gets a signal that aborts when another request wants the upload, or the line is dead
 * @throws ServiceError `upload_locked` when it can't be had in time; `upload_not_found`
 */
export async function holding<T>(
  { ownership }: Pick<TusParts, 'ownership'>,
  context: Context,
  uploadId: string,
  work: (stop: AbortSignal) => Promise<T>,
): Promise<T> {
  const stop = new AbortController()
  context.req.once('error', () => stop.abort())
  const lock = ownership.newLock(uploadId)
  await lock.lock(stop.signal, () => stop.abort())
  let owned: Owned | undefined
  try {
    owned = await ownership.owned(uploadId)
    return await work(stop.signal)
  } finally {
    if (owned) context.row = owned.row
    await lock.unlock()
  }
}

/**
 * The body of a PATCH or of a creation with upload, on its way into an upload that the request holds.
 */
import { ServiceError } from '../../errors.ts'
import { letBodyCome } from '../../http/early-answers.ts'
import type { Row } from '../../uploads/ownership.ts'
import type { Context, TusParts } from './context.ts'
import { bodyBytes } from './headers.ts'

/**
 * Writes the body at the upload's offset.
 *
 * @returns the new offset; of an upload that is whole already, its offset, and the body stays unread
 * @throws ServiceError `too_large`, before a byte is read where the request says how many come; `upload_locked` when
 *   another request took the upload over: what came is kept; what `append` throws
 */
export async function takeBody(parts: TusParts, context: Context, row: Row, stop: AbortSignal): Promise<number> {
  const { ingest } = parts
  const { req, res } = context
  const maxBytes = roomOf(parts, row)
  assertFits(parts, context, row)
  if (row.offset === row.length) return row.offset
  letBodyCome(req, res)
  const { offset, end } = await ingest.append(row.id, req, { maxBytes, signal: stop, check: context.check })
  const isWhole = offset === row.length
  context.cut = end === 'cut' && !isWhole
  // What comes beyond a declared length is not the upload's: the upload is whole, and the connection ends.
  if (isWhole || end === 'all' || end === 'cut') return offset
  if (end === 'overrun') throw new ServiceError('too_large', 'More bytes came than the upload may have.')
  throw takenOver()
}

export const takenOver = () =>
  new ServiceError('upload_locked', 'Another request took this upload over; HEAD tells how far it is.', {
    headers: { 'Retry-After': '1', Connection: 'close' },
  })

/** Bytes that are missing of the upload; while its length is deferred, that it may still get. */
const roomOf = ({ config }: Pick<TusParts, 'config'>, { length, offset }: Pick<Row, 'length' | 'offset'>): number =>
  (length ?? config.uploads.maxBytes) - offset

/** @throws ServiceError `too_large` for a body that says to be longer than what is missing */
export function assertFits(
  parts: Pick<TusParts, 'config'>,
  { req }: Pick<Context, 'req'>,
  row: Pick<Row, 'length' | 'offset'>,
): void {
  if ((bodyBytes(req.headers) ?? 0) <= roomOf(parts, row)) return
  throw new ServiceError('too_large', 'The body is longer than what is missing of the upload.')
}

/**
 * An upload grows: by what a request brings, or by bytes that are here whole. The caller owns it.
 */
import type { Readable } from 'node:stream'
import type { Statement } from '../db/database.ts'
import { offsetRelaid, uploadHeardOf } from '../db/uploads.ts'
import { asServiceError, ServiceError, shuttingDown } from '../errors.ts'
import type { BodyCheck, Written } from '../storage/staging.ts'
import { commit, commitOffset } from './commit.ts'
import type { Core } from './core.ts'
import { change, type Owned } from './ownership.ts'
import { isPartial } from './parts.ts'
import { closed, isWhole, roomFor } from './upload.ts'
import { assertDeferred, assertUsable, bytesMissing } from './usable.ts'

export interface AppendOptions {
  maxBytes?: number
  signal?: AbortSignal
  /** With a check, all bytes of the source count or none does. */
  check?: BodyCheck | undefined
  /** The offset is left to `seal`: what came is of no use unless all has come. */
  allOrNothing?: boolean
}

/** Bytes that are on their way from elsewhere, and how many they are. */
export interface Counted {
  bytes: number
  stream: Readable
}

/**
 * Writes what the source brings at the upload's offset.
 *
 * Whatever ends it, the bytes up to the offset told are on disk and recorded. An upload that is whole now is left to
 * `finish`, which records its offset along with its recording.
 *
 * @throws ServiceError `checksum_mismatch` when the check does not hold: the upload is as it was;
 *   `upload_closed`, `insufficient_storage` or `unavailable`: what was stored before stays
 */
export async function append(
  core: Core,
  owned: Owned,
  source: Readable,
  options: AppendOptions = {},
): Promise<Written> {
  const { space, clock, isDraining } = core
  const { row } = owned
  assertUsable(core, owned)
  if (isDraining()) throw shuttingDown()
  if (row.state !== 'receiving') throw closed()
  const before = row.offset
  if (row.length !== null && before < row.length) await space.keep(roomFor(row, row.length))
  const written = await owned.staged
    .append(source, before, {
      ...options,
      // A partial upload's file stays where it is, so its name must last.
      length: isPartial(row) ? undefined : (row.length ?? undefined),
      movesOn: options.allOrNothing,
      ...(!options.allOrNothing && { onCheckpoint: (offset: number) => commitOffset(core, owned, offset) }),
    })
    .catch((error) => {
      throw before > 0 && isMissing(error) ? bytesMissing(core, owned, error) : error
    })
  const isAll = written.offset === row.length && !written.error && !isPartial(row)
  if (isAll || options.allOrNothing) {
    change(owned, { offset: written.offset, lastByteAtMs: clock.now() })
    space.arrived(row.id, written.offset)
  } else if (written.offset > owned.savedOffset) {
    await commitOffset(core, owned, written.offset, core.ownership.ended(owned))
  }
  if (written.error) throw asServiceError(written.error)
  if (isDraining() && written.end === 'stopped' && !isWhole(owned.row)) throw shuttingDown()
  if (written.end === 'mismatch') {
    throw new ServiceError('checksum_mismatch', 'The bytes do not have the checksum they came with; none was kept.')
  }
  return written
}

/**
 * Writes bytes that are here whole at the upload's offset: all of them or none.
 *
 * @param also what is recorded in the same moment as the bytes; gets the position of the first
 * @throws ServiceError as `append` does; `source` failing is an error of ours
 */
export async function appendWhole(
  core: Core,
  owned: Owned,
  source: Buffer | Counted,
  also: (position: number) => Statement[],
): Promise<void> {
  const { space, step } = core
  const { row, staged } = owned
  assertDeferred(core, owned)
  const position = row.offset
  const bytes = Buffer.isBuffer(source) ? source.length : source.bytes
  const claim = `${row.id}.next`
  await space.reserve({ id: claim, length: bytes, offset: 0 })
  try {
    if (Buffer.isBuffer(source)) await staged.write(source, position)
    else {
      const written = await staged.append(source.stream, position)
      if (written.error) throw written.error
      if (written.end === 'stopped') throw shuttingDown()
      if (written.offset !== position + bytes) {
        throw source.stream.errored ?? new Error('bytes that were stored beside an upload are missing')
      }
    }
    space.arrived(claim, bytes)
    step('placed')
    await commitOffset(core, owned, position + bytes, also(position))
  } catch (error) {
    throw position > 0 && isMissing(error) ? bytesMissing(core, owned, error) : error
  } finally {
    space.release(claim)
  }
}

/**
 * The upload's bytes are being laid out anew: its offset becomes `offset`, forward or back. The caller sees to it that at
 * least so many bytes are there before and after.
 *
 * @throws ServiceError `upload_closed`
 */
export const moveOffset = (core: Core, owned: Owned, offset: number, also: readonly Statement[]): Promise<void> => {
  const relaid = offsetRelaid({ id: owned.row.id, offset, expected: owned.savedOffset })
  return commit(core, owned, relaid, { offset }, also)
}

/**
 * Bytes of the upload have come that are kept elsewhere until their turn: it has not been silent.
 *
 * @throws ServiceError `upload_closed`; nothing is recorded then
 */
export const hearOf = (core: Core, owned: Owned, also: readonly Statement[]): Promise<void> => {
  const { id, createdAtMs } = owned.row
  // Later than its beginning in any case: it has got a byte.
  const lastByteAtMs = Math.max(core.clock.now(), createdAtMs + 1)
  return commit(core, owned, uploadHeardOf({ id, lastByteAtMs }), { lastByteAtMs }, also)
}

const isMissing = (error: unknown) => (error as NodeJS.ErrnoException | undefined)?.code === 'ENOENT'

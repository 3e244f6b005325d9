/**
 * Commits by which the table learns of an upload's bytes. All of them are here, and each compares what the table was
 * known to have: that an offset is not lost rests on the statement, not on the lock.
 */
import { must, type Statement } from '../db/database.ts'
import { segmentsAdded } from '../db/segments.ts'
import { offsetReached } from '../db/uploads.ts'
import type { Ground } from './core.ts'
import { change, type Owned, type Row } from './ownership.ts'
import { closed } from './upload.ts'

/**
 * Commits what has become of an upload, and where its bytes are that the table does not know yet; then changes the
 * owner's record.
 *
 * @param changes what the statement writes
 * @param also what is true from the same moment on
 * @throws ServiceError `upload_closed` where the table has moved on; it is asked again then
 */
export async function commit(
  { db, ownership }: Pick<Ground, 'db' | 'ownership'>,
  owned: Owned,
  statement: Statement,
  changes: Partial<Row>,
  also: readonly Statement[] = [],
): Promise<void> {
  const movedOn = () => {
    ownership.forget(owned)
    return closed()
  }
  const { staged } = owned
  await db.write(must(statement, movedOn), ...segmentsAdded(owned.row.id, staged.pending), ...also)
  staged.recorded()
  change(owned, changes)
  if (changes.offset !== undefined) owned.savedOffset = changes.offset
}

/** Commits the offset; from then on it may be acknowledged. */
export async function commitOffset(
  ground: Ground,
  owned: Owned,
  offset: number,
  also: readonly Statement[] = [],
): Promise<void> {
  const { id } = owned.row
  const lastByteAtMs = ground.clock.now()
  const reached = offsetReached({ id, offset, lastByteAtMs, expected: owned.savedOffset })
  await commit(ground, owned, reached, { offset, lastByteAtMs }, also)
  ground.space.arrived(id, offset)
}

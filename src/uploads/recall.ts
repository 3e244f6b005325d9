/**
 * An upload that memory does not know, after a start or long ago: what the table says of it, and the stores.
 */
import type { Database } from '../db/database.ts'
import { segmentsOf } from '../db/segments.ts'
import { uploadById } from '../db/uploads.ts'
import { ServiceError } from '../errors.ts'
import { isId } from '../ids.ts'
import type { Library } from '../storage/library.ts'
import type { Staging } from '../storage/staging.ts'
import { type Owned, ownedOf, type Row } from './ownership.ts'
import { isFinal } from './parts.ts'
import { isOpen } from './upload.ts'

interface Parts {
  db: Database
  staging: Staging
  library: Library
}

/** @throws ServiceError `upload_not_found` */
export async function recall({ db, staging, library }: Parts, id: string): Promise<Owned> {
  const row = isId(id) ? await uploadById(db, id) : undefined
  if (!row) throw new ServiceError('upload_not_found', 'There is no such upload.')
  if (staging.segmented) return recallSegmented({ db, staging }, row)
  const owned = ownedOf(row, staging.of(id))
  // Of a final upload, the bytes may lie with its parts; its finish gathers them, or says that they are gone.
  if (!isOpen(row) || isFinal(row)) return owned
  const staged = await owned.staged.size()
  if (staged !== undefined && staged >= row.offset) return owned
  if (staged === undefined && row.key !== null && row.length !== null) {
    // Moved, but its row was not committed any more.
    const isMoved = (await library.sizeOf(row.key)) === row.length
    if (isMoved) return { ...owned, row: { ...row, offset: row.length } }
  }
  return { ...owned, missing: row.offset > 0 }
}

/** Where rows name the objects that hold the bytes, they say all: a store is not asked what it has. */
async function recallSegmented({ db, staging }: Pick<Parts, 'db' | 'staging'>, row: Row): Promise<Owned> {
  if (!isOpen(row)) return ownedOf(row, staging.of(row.id))
  const owned = ownedOf(row, staging.of(row.id, await segmentsOf(db, row.id)))
  return { ...owned, missing: row.offset > ((await owned.staged.size()) ?? 0) }
}

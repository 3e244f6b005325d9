/**
 * The end of a recording: its row goes in one transaction, which leaves a tombstone for its file. Whatever happens to
 * the process then, the sweep removes the bytes.
 */
import { eq } from 'drizzle-orm'
import { type Database, must } from '../db/database.ts'
import { type Recording, recordings, tombstones } from '../db/schema.ts'
import { ServiceError } from '../errors.ts'
import { type Caller, stillMay } from '../leads/rights.ts'
import type { Library } from '../storage/disk/library.ts'

export const recordingNotFound = () =>
  new ServiceError('recording_not_found', 'There is no such recording with this lead.')

/** @throws ServiceError 403 or 404 when the lead or the recording has gone from the caller in the meantime */
export async function deleteRecording(
  { db, library, step }: { db: Database; library: Library; step: (name: string) => void },
  caller: Caller,
  { id, leadId, path }: Recording,
): Promise<void> {
  await db.write(
    stillMay(db, { caller, act: 'use', leadId }),
    must(db.orm.delete(recordings).where(eq(recordings.id, id)), recordingNotFound),
    db.orm.insert(tombstones).values({ path }),
  )
  step('deleted')
  // A disk that fails now is no reason to say that the recording is still there: the sweep tries until it is done.
  await buried({ db, library }, path).catch(() => {})
}

/** Removes the file of a deleted recording, and then its tombstone. */
export async function buried({ db, library }: { db: Database; library: Library }, path: string): Promise<void> {
  await library.remove(path)
  await db.write(db.orm.delete(tombstones).where(eq(tombstones.path, path)))
}

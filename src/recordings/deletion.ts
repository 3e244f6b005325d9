/**
 * The end of a recording: its row goes in one transaction, which leaves a tombstone for its file. Whatever happens to
 * the process then, the sweep removes the bytes.
 */
import { type Database, must } from '../db/database.ts'
import { recordingGone } from '../db/recordings.ts'
import type { Recording } from '../db/schema.ts'
import { tombstoneGone, tombstoneSet } from '../db/tombstones.ts'
import { ServiceError } from '../errors.ts'
import { type Caller, stillMay } from '../leads/rights.ts'
import type { Library } from '../storage/library.ts'

export const recordingNotFound = () =>
  new ServiceError('recording_not_found', 'There is no such recording with this lead.')

/** @throws ServiceError 403 or 404 when the lead or the recording has gone from the caller in the meantime */
export async function deleteRecording(
  { db, library, step }: { db: Database; library: Library; step: (name: string) => void },
  caller: Caller,
  { id, leadId, path }: Recording,
): Promise<void> {
  await db.write(
    stillMay({ caller, act: 'use', leadId }),
    must(recordingGone(id), recordingNotFound),
    tombstoneSet(path),
  )
  step('deleted')
  // A disk that fails now is no reason to say that the recording is still there: the sweep tries until it is done.
  await buried({ db, library }, path).catch(() => {})
}

/** Removes the file of a deleted recording, and then its tombstone. */
export async function buried({ db, library }: { db: Database; library: Library }, path: string): Promise<void> {
  await library.remove(path)
  await db.write(tombstoneGone(path))
}

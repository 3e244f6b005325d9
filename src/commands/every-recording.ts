/** All recordings of a database, in the order of their ids, a few rows in memory at a time. */
import type { Reading } from '../db/database.ts'
import { recordingsAfter } from '../db/recordings.ts'
import type { Recording } from '../db/schema.ts'

const STEP = 100

export async function* everyRecording(db: Reading): AsyncGenerator<Recording> {
  for (let after = ''; ; ) {
    const page = await recordingsAfter(db, after, STEP)
    yield* page
    const last = page.at(-1)
    if (!last) return
    after = last.id
  }
}

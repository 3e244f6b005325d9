/** All recordings of a database, in the order of their ids, a few rows in memory at a time. */
import { asc, gt } from 'drizzle-orm'
import type { Database } from '../db/database.ts'
import { type Recording, recordings } from '../db/schema.ts'

const STEP = 100

export async function* everyRecording(db: Pick<Database, 'orm'>): AsyncGenerator<Recording> {
  for (let after = ''; ; ) {
    const page = await db.orm
      .select()
      .from(recordings)
      .where(gt(recordings.id, after))
      .orderBy(asc(recordings.id))
      .limit(STEP)
      .all()
    yield* page
    const last = page.at(-1)
    if (!last) return
    after = last.id
  }
}

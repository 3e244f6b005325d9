/**
 * All recordings of a database in the order of their paths, each with the bytes that lie under its path.
 *
 * A store that lists what it has, in that order and a thousand at a time, is listed beside the rows: what is missing is
 * found without a request for each.
 */
import { recordingsAfterPath } from '../db/copying.ts'
import type { Reading } from '../db/database.ts'
import type { Recording } from '../db/schema.ts'
import type { Entry } from '../storage/entry.ts'
import type { Library } from '../storage/library.ts'

const STEP = 100

interface Parts {
  db: Reading
  library: Pick<Library, 'sizeOf' | 'entries'>
  isListed: boolean
}

export interface SizedRecording {
  recording: Recording
  /** Undefined where nothing lies under its path. */
  size: number | undefined
}

interface Range {
  /** The path of the last one that is passed over. */
  after?: string
  takes?: (recording: Recording) => boolean
}

/** As many at once as are read from the tables. */
export async function* sizedRecordings(
  { db, library, isListed }: Parts,
  { after: first = '', takes = () => true }: Range = {},
): AsyncGenerator<SizedRecording[]> {
  const listed = isListed ? sizesIn(library.entries()) : undefined
  try {
    for (let after = first; ; ) {
      const rows = await recordingsAfterPath(db, after, STEP)
      const page: SizedRecording[] = []
      for (const recording of rows) {
        if (!takes(recording)) continue
        const told = await listed?.of(recording.path)
        // What came since its part of the list was read is not in it.
        const size = told === recording.size ? told : await library.sizeOf(recording.path)
        page.push({ recording, size })
      }
      const last = rows.at(-1)
      if (!last) return
      yield page
      after = last.path
    }
  } finally {
    await listed?.end()
  }
}

const compare = (a: string, b: string) => Buffer.compare(Buffer.from(a), Buffer.from(b))

/** Sizes out of a list, for names that are asked for in its order. */
function sizesIn(entries: AsyncIterable<Entry>) {
  const list = entries[Symbol.asyncIterator]()
  let at: Entry | undefined
  let isOver = false
  return {
    async of(name: string): Promise<number | undefined> {
      while (!isOver && (at === undefined || compare(at.name, name) < 0)) {
        const next = await list.next()
        if (next.done) isOver = true
        else at = next.value
      }
      return !isOver && at?.name === name ? at.bytes : undefined
    },
    async end() {
      await list.return?.()
    },
  }
}

/** The same, one by one. */
export async function* eachSized(parts: Parts, range?: Range): AsyncGenerator<SizedRecording> {
  for await (const page of sizedRecordings(parts, range)) yield* page
}

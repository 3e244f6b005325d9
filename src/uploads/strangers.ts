/**
 * What lies in the library and is in no row: recordings that the tables have never heard of, and what is no recording at
 * all. The service touches neither by itself.
 *
 * An operator may have the unknown recordings set aside; the sweep removes them after a week.
 */
import type { Clock } from '../clock.ts'
import { keysOfAttempts } from '../db/attempts.ts'
import type { Reading } from '../db/database.ts'
import { recordedPaths } from '../db/recordings.ts'
import { keysOfUploads } from '../db/uploads-swept.ts'
import type { Library } from '../storage/library.ts'
import { batches, SAFE_AGE_MS } from './sweep-steps.ts'

/** A file without a row, or what the service never made; by its name in the library. */
export type Stranger =
  | { act: 'report'; what: 'unknown'; file: string; bytes: number }
  | { act: 'report'; what: 'stray'; file: string }
  /** Without a row as well, but too young to be judged. */
  | { act: 'report'; what: 'young'; file: string }

interface Parts {
  db: Reading
  library: Pick<Library, 'entries'>
  clock: Clock
}

/** `LEAD/CALLLOG_20261122T071530Z_1f0c5d7a9b2e.ext`: no other name in the library is ours. */
const KEY = /^[A-Za-z0-9_-]{1,64}\/[A-Za-z0-9_-]{1,64}_\d{8}T\d{6}Z_[0-9a-f]{12}\.[a-z0-9]{1,8}$/

/** Found by a walk through the whole library. For an operator to judge: unknown ones are there if the database is older than the bytes. */
export async function* strangers({ db, library, clock }: Parts): AsyncGenerator<Stranger> {
  for await (const entries of batches(library.entries())) {
    const keys = entries.map(({ name }) => name).filter((name) => KEY.test(name))
    const known = new Set(
      (await Promise.all([recordedPaths, keysOfUploads, keysOfAttempts].map((of) => of(db, keys)))).flat(),
    )
    for (const { name: file, bytes, changedAtMs } of entries) {
      if (known.has(file)) continue
      if (!KEY.test(file)) yield { act: 'report', what: 'stray', file }
      else if (changedAtMs > clock.now() - SAFE_AGE_MS) yield { act: 'report', what: 'young', file }
      else yield { act: 'report', what: 'unknown', file, bytes }
    }
  }
}

/**
 * `call-recordings restore DIR` over PostgreSQL and a bucket: their own tools bring back the tables and the objects; this compares
 * what they have brought with the sums of the backup, and changes nothing.
 */
import type { Config } from '../config/config.ts'
import type { Recording } from '../db/schema.ts'
import { type Backup, sumsIn } from './backup-contents.ts'
import { type Existing, nameOf, openExisting, openTables } from './existing.ts'
import type { Output } from './output.ts'
import { inUnits } from './progress.ts'
import { eachSized } from './sized-recordings.ts'
import { UsageError } from './usage-error.ts'

const PREFIX = 'recordings/'

const howTo = (config: Config) =>
  `bring back the tables first: pg_restore --no-owner --dbname=${nameOf(config)} tables.dump; then the objects of the bucket, by ` +
  'its versions or from their copy; then run this again, which compares both with the backup'

const compareKeys = (a: string, b: string) => Buffer.compare(Buffer.from(a), Buffer.from(b))

/** What is wrong with what was brought back; undefined when nothing is. */
function faultOf(sha256: string, row: Recording | undefined, size: number | undefined): string | undefined {
  if (row === undefined) return 'is in no row of the tables'
  if (row.sha256 !== sha256) return 'has another sum in the tables'
  if (size === undefined) return 'is missing in the bucket'
  return size === row.size ? undefined : `has ${size} bytes in the bucket instead of ${row.size}`
}

async function compareWith(existing: Existing, backup: Backup, output: Output): Promise<number> {
  const rows = eachSized(existing)
  const sum = { recordings: 0, faults: 0, newer: 0 }
  let at = await rows.next()
  for await (const { sha256, file } of sumsIn(backup)) {
    const key = file.slice(PREFIX.length)
    for (; !at.done && compareKeys(at.value.recording.path, key) < 0; at = await rows.next()) sum.newer += 1
    const found = !at.done && at.value.recording.path === key ? at.value : undefined
    const fault = faultOf(sha256, found?.recording, found?.size)
    sum.recordings += 1
    if (found) at = await rows.next()
    if (fault === undefined) continue
    sum.faults += 1
    output.warn({ type: 'differs', path: key, fault }, `not as in the backup: ${key} ${fault}`)
  }
  for (; !at.done; at = await rows.next()) sum.newer += 1
  const { recordings, faults, newer } = sum
  const outcome = faults === 0 ? 'all are in the tables and the bucket' : `${faults} are not as they were`
  output.sum(sum, `${recordings} recordings of the backup (${inUnits(backup.bytes)}): ${outcome}`)
  if (newer > 0) output.say(`${newer} more are in the tables: newer than the backup`)
  if (faults === 0) output.say('next: call-recordings verify reads all of them; then start the servers')
  return faults === 0 ? 0 : 1
}

/** @returns the exit code: 1 when not all of the backup is there */
export async function compareLists(config: Config, backup: Backup, output: Output): Promise<number> {
  if (backup.database !== undefined) {
    throw new UsageError(
      `${backup.directory} is the backup of a server with SQLite and a disk: restore it with the settings of such a one, into a ` +
        'directory, and bring it over by call-recordings migrate --to FILE. Nothing was done.',
    )
  }
  let existing: Existing
  try {
    existing = await openExisting(config, await openTables(config))
  } catch (error) {
    throw new Error(`${(error as Error).message}; ${howTo(config)}`, { cause: error })
  }
  try {
    if (!existing.isUsed && backup.recordings > 0) throw new Error(`the tables know no recording yet: ${howTo(config)}`)
    return await compareWith(existing, backup, output)
  } finally {
    await existing.close()
  }
}

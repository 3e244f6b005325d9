/**
 * `call-recordings backup DIR` over PostgreSQL and a bucket: what neither `pg_dump` nor the bucket's own versioning has, and a
 * text that says so. That is the sum of each recording, by which the two can be compared after a restore without this program,
 * and the settings, without what is secret in them.
 */
import { open, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { type Config, givenSettings } from '../config/config.ts'
import { isRecorded } from '../db/recordings.ts'
import { syncDirectory } from '../storage/disk/durability.ts'
import { type Existing, nameOf, openExisting, openTables } from './existing.ts'
import type { Output } from './output.ts'
import { inUnits } from './progress.ts'
import { sizedRecordings } from './sized-recordings.ts'

const text = (database: string, place: string): string =>
  [
    'This is the part of a backup that PostgreSQL and the bucket do not make themselves. It holds no tables and no recordings:',
    '',
    `  tables      pg_dump --format=custom ${database} > DIR/tables.dump`,
    '              or the archiving of your PostgreSQL. Make it before you copy the bucket: all that it names is there then.',
    `  recordings  ${place}recordings/`,
    '              by the versioning of the bucket, or a copy of it elsewhere. Recordings are never changed, only deleted.',
    '  secrets     where you keep secrets: those that are empty in settings.env, and the credentials of the bucket',
    '',
    'SHA256SUMS has the sum of every recording: where a copy of the bucket lies in a folder, sha256sum -c compares it. After a',
    'restore, call-recordings verify does so with the tables, and call-recordings sweep --dry-run names what they do not know.',
    `Uploads on their way are in the tables and under ${place}uploads/. Where those objects are gone, their clients are told 410 and`,
    'begin again.',
    '',
  ].join('\n')

async function write(file: string, pieces: AsyncIterable<string> | Iterable<string>): Promise<void> {
  const handle = await open(file, 'wx', 0o600)
  try {
    await writeFile(handle, pieces)
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** A line of an environment file; of a secret, its name alone. */
const line = ([name, value]: readonly [string, string | undefined]) =>
  value === undefined ? `# ${name}= is a secret\n` : `${name}="${value.replace(/(["\\$`])/g, '\\$1')}"\n`

interface Sums {
  count: number
  bytes: number
  faults: number
}

async function* sumsOf(existing: Existing, sums: Sums, output: Output): AsyncGenerator<string> {
  for await (const page of sizedRecordings(existing)) {
    for (const { recording, size } of page) {
      const { id, leadId, path: key, sha256 } = recording
      if (size !== recording.size) {
        if (!(await isRecorded(existing.db, id))) continue
        sums.faults += 1
        const fault = size === undefined ? 'is missing' : `has ${size} bytes instead of ${recording.size}`
        output.warn(
          { type: 'left_out', recording_id: id, lead_id: leadId, path: key, fault },
          `in the tables and not as it was in the bucket: recording ${id} (${key}) ${fault}`,
        )
      }
      sums.count += 1
      sums.bytes += recording.size
      yield `${sha256}  recordings/${key}\n`
    }
  }
}

/** Fills a folder. @returns the exit code: 1 when a recording is not in the bucket */
export async function makeLists(config: Config, folder: string, output: Output): Promise<number> {
  const existing = await openExisting(config, await openTables(config))
  try {
    const sums: Sums = { count: 0, bytes: 0, faults: 0 }
    await write(path.join(folder, 'SHA256SUMS'), sumsOf(existing, sums, output))
    const { count, bytes, faults } = sums
    const [database, place] = [nameOf(config), existing.place]
    const manifest = { format: 1, created_at: new Date().toISOString(), recordings: count, bytes, database, place }
    await write(path.join(folder, 'manifest.json'), [`${JSON.stringify(manifest, null, 2)}\n`])
    await write(path.join(folder, 'settings.env'), givenSettings().map(line))
    const readme = text(database, place)
    await write(path.join(folder, 'README'), [readme])
    await syncDirectory(folder)
    output.say(readme)
    output.sum({ recordings: count, bytes, left_out: faults }, `${count} recordings, ${inUnits(bytes)}`)
    return faults === 0 ? 0 : 1
  } finally {
    await existing.close()
  }
}

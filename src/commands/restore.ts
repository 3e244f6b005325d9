/**
 * `call-recordings restore DIR`: a backup into the empty place that the settings name.
 *
 * All of the backup is read and compared with its sums before anything is made, and all of the copy with its rows before its
 * database goes into place, which is the last step. What was broken off before is told from a whole restore by that, and goes on when
 * it is run again.
 */
import { constants } from 'node:fs'
import { chmod, copyFile, mkdir, rm } from 'node:fs/promises'
import path from 'node:path'
import type { Config } from '../config/config.ts'
import { openForReading, openSqlite } from '../db/sqlite.ts'
import { syncDirectory } from '../storage/disk/durability.ts'
import { type Backup, backupIn, sumsIn } from './backup-contents.ts'
import { codeOf, sha256OfFile, sizeOf, syncFile } from './backup-files.ts'
import { everyRecording } from './every-recording.ts'
import type { Output } from './output.ts'
import { createProgress, inUnits, type Progress } from './progress.ts'
import { openPlace, type RestorePlace } from './restore-place.ts'
import { UsageError } from './usage-error.ts'

export interface RestoreOptions {
  directory: string
  /** Recordings that are damaged in the backup are left out, and all else restored. */
  despiteDamage: boolean
}

interface Run {
  config: Config
  backup: Backup
  output: Output
  /** Files of the backup that are not what they were, by their paths in it. */
  damaged: Set<string>
}

/** What is wrong with a file; undefined when nothing is. */
async function faultOf(file: string, sha256: string, progress: Progress): Promise<string | undefined> {
  try {
    const is = await sha256OfFile(file, (bytes) => progress.advance(bytes))
    return is === sha256 ? undefined : `has SHA-256 ${is} instead of ${sha256}`
  } catch (error) {
    return `can't be read (${codeOf(error) ?? (error as Error).message})`
  }
}

const withProgress = async <T>(label: string, bytes: number, work: (progress: Progress) => Promise<T>): Promise<T> => {
  const progress = createProgress(label, bytes, process.stderr)
  return work(progress).finally(() => progress.done())
}

/** Reads all of the backup. @throws a sentence for the operator where it may not be restored */
async function check({ backup, output, damaged }: Run, despiteDamage: boolean): Promise<void> {
  const { directory, database } = backup
  await withProgress('checking', backup.bytes, async (progress) => {
    for await (const { sha256, file } of sumsIn(backup)) {
      const fault = await faultOf(path.join(directory, file), sha256, progress)
      if (fault === undefined) continue
      progress.done()
      output.warn({ type: 'damaged', file, fault }, `damaged in the backup: ${file} ${fault}`)
      damaged.add(file)
      if (path.join(directory, file) === database)
        throw new Error('the database of the backup is damaged: take another backup')
    }
  })
  if (damaged.size > 0 && !despiteDamage) {
    throw new Error(
      `${damaged.size} of the backup's recordings are damaged: take another backup, or restore all others by --despite-damage. ` +
        'Nothing was done.',
    )
  }
}

/** The database, as a start of the server would have it. @throws a sentence where it is of a newer version */
async function takeDatabase({ backup }: Run, place: RestorePlace): Promise<void> {
  for (const ending of ['', '-wal', '-shm']) await rm(place.database + ending, { force: true })
  await copyFile(backup.database as string, place.database, constants.COPYFILE_FICLONE)
  await chmod(place.database, 0o600)
  await (await openSqlite(place.database)).close()
  await openForReading(place.database).close()
  await syncFile(place.database)
  await syncDirectory(path.dirname(place.database))
}

/** One that an earlier restore has brought is read, and not copied again. */
async function takeFile(source: string, target: string, sha256: string, goesOn: boolean): Promise<void> {
  if (goesOn && (await sizeOf(target)) === (await sizeOf(source)) && (await sha256OfFile(target)) === sha256) return
  await copyFile(source, target, constants.COPYFILE_FICLONE)
  await syncFile(target)
}

async function takeRecordings({ config, backup, damaged }: Run, { goesOn }: RestorePlace): Promise<void> {
  const { recordingsDir } = config
  await withProgress('copying', backup.bytes, async (progress) => {
    let folder = recordingsDir
    for await (const { sha256, file } of sumsIn(backup)) {
      if (file === 'recordings.db' || damaged.has(file)) continue
      const source = path.join(backup.directory, file)
      const target = path.join(recordingsDir, path.relative('recordings', file))
      if (path.dirname(target) !== folder) {
        // The files of a folder follow each other.
        await syncDirectory(folder)
        folder = path.dirname(target)
        await mkdir(folder, { recursive: true, mode: 0o700 })
      }
      await takeFile(source, target, sha256, goesOn)
      progress.advance((await sizeOf(source)) ?? 0)
    }
    await syncDirectory(folder)
    await syncDirectory(recordingsDir)
  })
}

/** Compares each row with its file, as `verify` does. @returns how many recordings are as they were */
async function compare({ config, backup, output, damaged }: Run, place: RestorePlace): Promise<number> {
  const db = openForReading(place.database)
  let sound = 0
  let wrong = 0
  try {
    await withProgress('comparing', backup.bytes, async (progress) => {
      for await (const { id, path: key, sha256 } of everyRecording(db)) {
        const fault = await faultOf(path.join(config.recordingsDir, key), sha256, progress)
        if (fault === undefined) sound += 1
        else if (!damaged.has(`recordings/${key}`)) {
          wrong += 1
          progress.done()
          output.warn({ type: 'differs', recording_id: id, path: key, fault }, `not as in the backup: ${key} ${fault}`)
        }
      }
    })
  } finally {
    await db.close()
  }
  if (wrong > 0) {
    throw new Error(
      `${wrong} recordings are not as in the backup: look at the disk, and run the same again. The database is not in place.`,
    )
  }
  return sound
}

async function intoPlace(run: Run): Promise<number> {
  const { config, backup, output, damaged } = run
  const place = await openPlace(config, backup)
  try {
    await takeDatabase(run, place)
    await takeRecordings(run, place)
    const recordings = await compare(run, place)
    await place.finish()
    const bytes = inUnits(backup.bytes)
    output.sum(
      { recordings, left_out: damaged.size, created_at: backup.createdAt, data_dir: config.dataDir },
      `restored: ${recordings} recordings of ${bytes}, as they were on ${backup.createdAt}, in ${config.dataDir}`,
    )
    if (damaged.size > 0)
      output.say(`left out: ${damaged.size} that are damaged in the backup; verify names them until they are put back`)
    output.say(
      'next: start the server with these settings. Uploads that were under way begin again; secrets are not part of a backup.',
    )
    return damaged.size === 0 ? 0 : 1
  } finally {
    place.close()
  }
}

/** @returns the exit code: 1 when a recording was left out */
export async function restore(config: Config, options: RestoreOptions, output: Output): Promise<number> {
  const backup = await backupIn(path.resolve(options.directory))
  if (config.postgres) return (await import('./restore-lists.ts')).compareLists(config, backup, output)
  if (backup.database === undefined) {
    throw new UsageError(
      `${options.directory} holds no database: it is the part of a backup that PostgreSQL and a bucket do not make; its README ` +
        'says how those are restored. Nothing was done.',
    )
  }
  const run: Run = { config, backup, output, damaged: new Set() }
  await check(run, options.despiteDamage)
  return intoPlace(run)
}

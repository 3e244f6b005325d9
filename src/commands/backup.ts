/**
 * `call-recordings backup DIR`: the database and every recording, consistent with each other, while the server runs.
 *
 * The database is copied first, in one step. The recordings that the copy knows never change, so that a link taken later
 * is as good; one that was deleted in the meantime leaves the copy as well. DIR appears when all of it is there, and has
 * the form of a data directory. Over PostgreSQL and a bucket it is another thing: `backup-lists.ts`.
 */
import { constants } from 'node:fs'
import { copyFile, link, mkdir, mkdtemp, realpath, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import type { Config } from '../config/config.ts'
import type { Database, Reading } from '../db/database.ts'
import { isRecorded, recordingGone, recordingSums, recordingTotals } from '../db/recordings.ts'
import type { Recording } from '../db/schema.ts'
import { openForReading, openSqlite } from '../db/sqlite.ts'
import { openUploadsGone } from '../db/uploads.ts'
import { isDirectory } from '../storage/disk/directories.ts'
import type { DiskLibrary } from '../storage/disk/disk-library.ts'
import { syncDirectory } from '../storage/disk/durability.ts'
import { codeOf, sha256OfFile, sizeOf, syncFile, writeDurably } from './backup-files.ts'
import { makeLists } from './backup-lists.ts'
import { goesAtExit } from './broken-off.ts'
import { everyRecording } from './every-recording.ts'
import { openExistingFiles } from './existing.ts'
import type { Output } from './output.ts'
import { createProgress, inUnits, type Progress } from './progress.ts'
import { UsageError } from './usage-error.ts'

/** By hard link where both lie on one file system, else as a copy. */
async function place(source: string, target: string): Promise<void> {
  try {
    await link(source, target)
  } catch (error) {
    if (!['EXDEV', 'EPERM', 'EMLINK', 'ENOTSUP'].includes(codeOf(error) ?? '')) throw error
    await copyFile(source, target, constants.COPYFILE_FICLONE)
    await syncFile(target)
  }
}

interface Parts {
  live: Reading
  copy: Database
  library: DiskLibrary
  folder: string
  progress: Progress
}

/** @returns what is wrong with the recording; undefined when it is in the backup, or was deleted meanwhile */
async function take(
  { live, copy, library, folder, progress }: Parts,
  recording: Recording,
): Promise<string | undefined> {
  const target = path.join(folder, 'recordings', recording.path)
  await mkdir(path.dirname(target), { recursive: true, mode: 0o700 })
  try {
    await place(library.pathOf(recording.path), target)
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error
  }
  const size = await sizeOf(target)
  progress.advance(recording.size)
  if (size === recording.size) return undefined
  await rm(target, { force: true })
  await copy.write(recordingGone(recording.id))
  if (!(await isRecorded(live, recording.id))) return undefined
  return size === undefined ? 'its file is missing' : `its file has ${size} bytes instead of ${recording.size}`
}

async function fill(parts: Parts, output: Output): Promise<{ count: number; bytes: number; faults: number }> {
  const { copy, folder } = parts
  const folders = new Set<string>()
  let faults = 0
  for await (const recording of everyRecording(copy)) {
    const fault = await take(parts, recording)
    folders.add(path.dirname(path.join(folder, 'recordings', recording.path)))
    if (fault === undefined) continue
    faults += 1
    output.warn(
      { type: 'left_out', recording_id: recording.id, lead_id: recording.leadId, path: recording.path, fault },
      `not in the backup: recording ${recording.id} (${recording.path}): ${fault}`,
    )
  }
  for (const each of [...folders, path.join(folder, 'recordings')]) await syncDirectory(each)
  const total = await recordingTotals(copy)
  return { ...total, faults }
}

/** `sha256sum -c SHA256SUMS` reads it: a backup can be checked without this program. */
async function sumsOf(copy: Database): Promise<string> {
  const rows = await recordingSums(copy)
  return rows.map(({ path: file, sha256 }) => `${sha256}  recordings/${file}\n`).join('')
}

async function make(config: Config, folder: string, output: Output): Promise<number> {
  const existing = await openExistingFiles(config, openForReading(config.databaseFile))
  const { db: live, library } = existing
  try {
    const database = path.join(folder, 'recordings.db')
    await live.backup(database)
    await mkdir(path.join(folder, 'recordings'), { mode: 0o700 })
    const copy = await openSqlite(database)
    const all = await recordingTotals(copy)
    const progress = createProgress('backing up', all.bytes, process.stderr)
    let outcome: Awaited<ReturnType<typeof fill>>
    let sums: string
    try {
      // Bytes under way change all the time and are not part of it: their clients begin again.
      await copy.write(openUploadsGone())
      outcome = await fill({ live, copy, library, folder, progress }, output)
      sums = await sumsOf(copy)
    } finally {
      progress.done()
      await copy.close()
    }
    await syncFile(database)
    const digest = await sha256OfFile(database)
    await writeDurably(path.join(folder, 'SHA256SUMS'), `${digest}  recordings.db\n${sums}`)
    const { count, bytes, faults } = outcome
    const manifest = { format: 1, created_at: new Date().toISOString(), recordings: count, bytes }
    await writeDurably(path.join(folder, 'manifest.json'), `${JSON.stringify(manifest, null, 2)}\n`)
    await syncDirectory(folder)
    output.sum({ recordings: count, bytes, left_out: faults }, `${count} recordings, ${inUnits(bytes)}`)
    return faults === 0 ? 0 : 1
  } finally {
    await existing.close()
  }
}

/** What speaks against a new directory there; undefined when nothing does. */
async function objectionTo(config: Config, target: string): Promise<string | undefined> {
  if ((await sizeOf(target)) !== undefined) return 'exists already: a backup goes into a directory of its own'
  const parent = path.dirname(target)
  if (!(await isDirectory(parent))) return `cannot be made: there is no directory ${parent}`
  const place = await realpath(parent)
  for (const directory of [config.dataDir, config.recordingsDir, config.uploadsDir]) {
    const real = await realpath(directory).catch(() => directory)
    if (place === real || place.startsWith(real + path.sep)) return `lies in ${directory}, which it is to be a copy of`
  }
  return undefined
}

/** @returns the exit code: 1 when a recording could not be taken in; the rest is there all the same */
export async function backup(config: Config, directory: string, output: Output): Promise<number> {
  const target = path.resolve(directory)
  const objection = await objectionTo(config, target)
  if (objection !== undefined) throw new UsageError(`${directory} ${objection}`)
  const partial = await mkdtemp(`${target}.partial-`)
  const isWhole = goesAtExit(partial)
  try {
    const code = await (config.postgres ? makeLists : make)(config, partial, output)
    await rename(partial, target)
    await syncDirectory(path.dirname(target))
    return code
  } catch (error) {
    await rm(partial, { recursive: true, force: true })
    throw error
  } finally {
    isWhole()
  }
}

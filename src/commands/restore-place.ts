/** Where a backup goes: an empty place, or one in which a restore of the same backup was broken off. */
import { mkdir, readdir, readFile, realpath, rename, rm, statfs } from 'node:fs/promises'
import path from 'node:path'
import type { Config } from '../config/config.ts'
import { lockInstance } from '../db/instance-lock.ts'
import { makeDirectory } from '../storage/disk/directories.ts'
import { syncDirectory } from '../storage/disk/durability.ts'
import { RESTORING } from '../storage/disk/restoring.ts'
import type { Backup } from './backup-contents.ts'
import { codeOf, writeDurably } from './backup-files.ts'
import { inUnits } from './progress.ts'
import { UsageError } from './usage-error.ts'

/** What may lie in a place that is empty: what a file system has, the secrets of a server, and its lock. */
const ALLOWED = /^(lost\+found|server\.lock.*|jwt-secret|playback-links-secret|\.probe-\d+|\.restoring)$/

export interface RestorePlace {
  /** Where the database waits. */
  database: string
  /** Whether an earlier restore was broken off there. */
  goesOn: boolean
  /** The database goes into its place: from now on it is a server's. */
  finish(): Promise<void>
  /** The lock is given back. */
  close(): void
}

async function entriesOf(directory: string): Promise<string[]> {
  try {
    return await readdir(directory)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return []
    throw error
  }
}

const notEmpty = (setting: string, directory: string, entry: string) =>
  new UsageError(
    `${setting} is ${directory}, which holds ${entry}: a restore goes into an empty place; name another one, or move what is ` +
      'there aside. Nothing was done.',
  )

/** @throws UsageError */
async function assertEmpty({ dataDir, recordingsDir, uploadsDir }: Config, goesOn: boolean): Promise<void> {
  const own = [recordingsDir, uploadsDir]
    .filter((each) => path.dirname(each) === dataDir)
    .map((each) => path.basename(each))
  const inData = (await entriesOf(dataDir)).find((entry) => !ALLOWED.test(entry) && !own.includes(entry))
  if (inData !== undefined) throw notEmpty('RECORDINGS_DATA_DIR', dataDir, inData)
  const places = [
    ['RECORDINGS_UPLOADS_DIR', uploadsDir],
    ...(goesOn ? [] : [['RECORDINGS_DIR', recordingsDir]]),
  ] as const
  for (const [setting = '', directory = ''] of places) {
    const entry = (await entriesOf(directory)).find((each) => !ALLOWED.test(each))
    if (entry !== undefined) throw notEmpty(setting, directory, entry)
  }
}

/** @throws UsageError */
async function assertApart({ dataDir, recordingsDir }: Config, backup: Backup): Promise<void> {
  const from = await realpath(backup.directory)
  for (const directory of [dataDir, recordingsDir]) {
    const to = await realpath(directory).catch(() => directory)
    if (to === from || to.startsWith(from + path.sep)) {
      throw new UsageError(`${directory} lies in the backup itself: name another place. Nothing was done.`)
    }
  }
}

async function assertRoom({ recordingsDir }: Config, { bytes }: Backup): Promise<void> {
  const { bavail, bsize } = await statfs(recordingsDir)
  if (bavail * bsize >= bytes) return
  throw new Error(`${recordingsDir} has room for ${inUnits(bavail * bsize)}, and the backup has ${inUnits(bytes)}`)
}

/** Of which backup a restore was broken off; undefined where none was. */
async function brokenOff(mark: string): Promise<string | undefined> {
  try {
    return (await readFile(path.join(mark, 'backup'), 'utf8')).trim()
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error
    // It had come no further than its first step.
    await rm(mark, { recursive: true, force: true })
    return undefined
  }
}

/** Makes the place and marks it. @throws UsageError where it is not empty; Error where a server runs there, or there is no room */
export async function openPlace(config: Config, backup: Backup): Promise<RestorePlace> {
  const { dataDir, recordingsDir, databaseFile } = config
  const mark = path.join(dataDir, RESTORING)
  await assertApart(config, backup)
  const entries = await entriesOf(dataDir)
  if (!entries.includes(RESTORING)) await assertEmpty(config, false)
  await makeDirectory(dataDir)
  const close = await lockInstance(path.join(dataDir, 'server.lock'), 0)
  try {
    const earlier = await brokenOff(mark)
    const goesOn = earlier !== undefined
    if (goesOn && earlier !== backup.id) {
      throw new UsageError(
        `a restore of another backup was broken off in ${dataDir}: empty the place, or name another one`,
      )
    }
    await assertEmpty(config, goesOn)
    await makeDirectory(recordingsDir)
    if (!goesOn) await assertRoom(config, backup)
    await mkdir(mark, { recursive: true, mode: 0o700 })
    await writeDurably(path.join(mark, 'backup'), `${backup.id}\n`)
    await syncDirectory(mark)
    await syncDirectory(dataDir)
    const database = path.join(mark, path.basename(databaseFile))
    const finish = async () => {
      await rename(database, databaseFile)
      await syncDirectory(dataDir)
      await rm(mark, { recursive: true, force: true })
    }
    return { database, goesOn, finish, close }
  } catch (error) {
    close()
    throw error
  }
}

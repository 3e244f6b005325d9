/**
 * What a server has made, as commands find it. They open what is there and make nothing: a mistyped name is told, and not
 * answered with an empty database.
 */
import { tmpdir } from 'node:os'
import { type Clock, systemClock } from '../clock.ts'
import type { Config } from '../config/config.ts'
import type { Database, Reading } from '../db/database.ts'
import { knowsRecordings } from '../db/recordings.ts'
import { openForReading, openSqlite } from '../db/sqlite.ts'
import { whatToDo } from '../process/start-faults.ts'
import { isDirectory } from '../storage/disk/directories.ts'
import { type DiskLibrary, openDiskLibrary } from '../storage/disk/disk-library.ts'
import { DiskStaging } from '../storage/disk/disk-staging.ts'
import type { Library } from '../storage/library.ts'
import type { Staging } from '../storage/staging.ts'

/** Tables that are read, and closed afterwards. */
type Tables = Reading & { close(): Promise<void> }

/** Where bytes lie, opened. */
export interface Places {
  staging: Staging
  library: Library
  /** Where recordings lie, in the words of an operator. */
  place: string
  /** Whether the library tells what it has in the order of its keys, with their sizes, many at once. */
  isListed: boolean
  close(): void
}

export interface Existing<Db extends Tables = Tables> extends Omit<Places, 'close'> {
  db: Db
  /** Whether the tables know a recording at all. */
  isUsed: boolean
  close(): Promise<void>
}

/** The server's database, to be read beside it. @throws a sentence for the operator when there is none */
export async function openTables(config: Config): Promise<Tables> {
  const { postgres, databaseFile } = config
  if (!postgres) return openForReading(databaseFile)
  const { readPostgres } = await import('../db/postgres/postgres.ts')
  return readPostgres(postgres).catch((error) => {
    const told = whatToDo(error, config)
    throw told === undefined ? error : new Error(told)
  })
}

export interface WritableTables extends Database {
  /** Of those who share the tables. */
  clock: Clock
}

/** The server's database, to be changed beside it by what the server keeps no copy of. @throws a sentence for the operator */
export async function openTablesForWriting({ postgres, databaseFile }: Config): Promise<WritableTables> {
  if (!postgres) {
    // To open a file for writing makes it, and brings it up to date: whether that is needed is looked at first.
    await openForReading(databaseFile).close()
    return { ...(await openSqlite(databaseFile)), clock: systemClock }
  }
  const { usePostgres } = await import('../db/postgres/postgres.ts')
  const { openClock } = await import('../db/postgres/postgres-clock.ts')
  const db = await usePostgres(postgres)
  try {
    const clock = await openClock(db)
    const close = async () => {
      clock.close()
      await db.close()
    }
    return { ...db, clock, close }
  } catch (error) {
    await db.close()
    throw error
  }
}

/** The bucket. Files without a name, which large finishes need, lie where the system has its temporary ones. */
export async function openBucket(store: NonNullable<Config['store']>): Promise<Places> {
  const { openS3Stores } = await import('../storage/s3/s3-stores.ts')
  const opened = await openS3Stores(store, tmpdir())
  const { staging, library, store: bucket } = opened
  return { staging, library, place: bucket.place, isListed: true, close: () => opened.close() }
}

/** The directories, which have to be there. */
export async function openDisk({ recordingsDir, uploadsDir }: Config): Promise<Places & { library: DiskLibrary }> {
  const library = await openDiskLibrary(recordingsDir)
  const staging = new DiskStaging({ directory: uploadsDir, library })
  return { staging, library, place: recordingsDir, isListed: false, close: () => library.close() }
}

async function openExistingDisk(config: Config) {
  await assertDirectory(config.recordingsDir, 'RECORDINGS_DIR')
  return openDisk(config)
}

/** @returns whether they know a recording at all @throws a sentence for the operator where they are not those of this version */
export async function assertTables(config: Config, db: Reading): Promise<boolean> {
  try {
    return await knowsRecordings(db)
  } catch (error) {
    throw new Error(
      whatToDo(error, config) ?? `${nameOf(config)} is no database of this service: ${(error as Error).message}`,
    )
  }
}

async function openWith<Db extends Tables, P extends Places>(config: Config, db: Db, open: () => Promise<P>) {
  try {
    const isUsed = await assertTables(config, db)
    const places = await open()
    return {
      ...places,
      db,
      isUsed,
      async close() {
        places.close()
        await db.close()
      },
    }
  } catch (error) {
    await db.close()
    throw error
  }
}

/**
 * @param db is closed with the rest, and when this fails
 * @throws a sentence for the operator when something is missing, or is not what it should be
 */
export const openExisting = <Db extends Tables>(config: Config, db: Db): Promise<Existing<Db>> =>
  openWith(config, db, () => (config.store ? openBucket(config.store) : openExistingDisk(config)))

/** The same, where recordings are files. */
export const openExistingFiles = <Db extends Tables>(
  config: Config,
  db: Db,
): Promise<Existing<Db> & { library: DiskLibrary }> => openWith(config, db, () => openExistingDisk(config))

/** The database, in the words of an operator: without its password. */
export const nameOf = ({ postgres, databaseFile }: Pick<Config, 'postgres' | 'databaseFile'>): string =>
  postgres ? `${postgres.url}` : databaseFile

/** @throws a sentence for the operator */
export async function assertDirectory(directory: string, setting: string): Promise<void> {
  if (await isDirectory(directory)) return
  throw new Error(`there is no directory ${directory}; a command needs the settings of its server, here ${setting}`)
}

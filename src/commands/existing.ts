/**
 * What a server has made, as commands find it. They open what is there and make nothing: a mistyped name is told, and not
 * answered with an empty database.
 */
import type { Config } from '../config/config.ts'
import type { Reading } from '../db/database.ts'
import { knowsRecordings } from '../db/recordings.ts'
import { openForReading } from '../db/sqlite.ts'
import { isDirectory } from '../storage/disk/directories.ts'
import { type DiskLibrary, openDiskLibrary } from '../storage/disk/disk-library.ts'
import { DiskStaging } from '../storage/disk/disk-staging.ts'
import type { Staging } from '../storage/staging.ts'

/** Tables that are read, and closed afterwards. */
type Tables = Reading & { close(): Promise<void> }

export interface Existing<Db extends Tables = Tables> {
  db: Db
  /** Its directory may be missing. */
  staging: Staging
  library: DiskLibrary
  /** Whether the tables know a recording at all. */
  isUsed: boolean
  close(): Promise<void>
}

/** The server's database, to be read beside it. @throws a sentence for the operator when there is none */
export async function openTables({ postgres, databaseFile }: Config): Promise<Tables> {
  if (!postgres) return openForReading(databaseFile)
  const { readPostgres } = await import('../db/postgres/postgres.ts')
  return readPostgres(postgres)
}

/**
 * @param db is closed with the rest, and when this fails
 * @throws a sentence for the operator when something is missing, or is not what it should be
 */
export async function openExisting<Db extends Tables>(config: Config, db: Db): Promise<Existing<Db>> {
  try {
    const name = config.postgres?.url ?? config.databaseFile
    const isUsed = await knowsRecordings(db).catch((error) => {
      throw new Error(`${name} is no database of this service: ${(error as Error).message}`)
    })
    await assertDirectory(config.recordingsDir, 'RECORDINGS_DIR')
    const library = await openDiskLibrary(config.recordingsDir)
    return {
      db,
      staging: new DiskStaging({ directory: config.uploadsDir, library }),
      library,
      isUsed,
      async close() {
        library.close()
        await db.close()
      },
    }
  } catch (error) {
    await db.close()
    throw error
  }
}

/** @throws a sentence for the operator */
export async function assertDirectory(directory: string, setting: string): Promise<void> {
  if (await isDirectory(directory)) return
  throw new Error(`there is no directory ${directory}; a command needs the settings of its server, here ${setting}`)
}

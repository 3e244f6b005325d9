/** The two ends of a move: the home that is read, and the one that is filled. A server may run on the first alone. */
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { parseEnv } from 'node:util'
import { type Config, readOther } from '../config/config.ts'
import type { Database, Reading } from '../db/database.ts'
import { isTaken, lockInstance } from '../db/instance-lock.ts'
import { knowsRecordings } from '../db/recordings.ts'
import { openSqlite } from '../db/sqlite.ts'
import { makeDirectory } from '../storage/disk/directories.ts'
import { type Existing, nameOf, openBucket, openDisk, openExisting, openTables, type Places } from './existing.ts'

export interface Source extends Existing {
  name: string
  /** Whether a server runs on it. Where that can be prevented, none begins to until it is closed. */
  isServed: boolean
}

/** What is filled; where nothing may be written, its tables are only read. */
export interface Target extends Omit<Places, 'close'> {
  name: string
  db: Reading & Partial<Pick<Database, 'write'>>
  close(): Promise<void>
}

const nameOfHome = (config: Config): string =>
  config.store ? `${nameOf(config)} and s3://${config.store.bucket}/${config.store.prefix}` : config.dataDir

/** @param file of settings, as `EnvironmentFile` of systemd takes it @throws ConfigError */
export async function readTarget(file: string): Promise<Config> {
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new Error(`the settings of the other home can't be read: ${error.message}`)
  })
  return readOther(parseEnv(text))
}

/** @returns what both have in common; undefined when they are two */
export function sharedBy(one: Config, other: Config): string | undefined {
  const [a, b] = [nameOf(one), nameOf(other)]
  if (one.postgres?.url.text === other.postgres?.url.text && a === b) return a
  if (!one.store && !other.store && one.recordingsDir === other.recordingsDir) return one.recordingsDir
  const bucket = ({ store }: Config) => store && `${store.endpoint ?? ''} s3://${store.bucket}/${store.prefix}`
  if (one.store && bucket(one) === bucket(other)) return bucket(one)
  return undefined
}

/** @throws a sentence for the operator when there is none */
export async function openSource(config: Config): Promise<Source> {
  const opened = await openExisting(config, await openTables(config))
  const { isServed, release } = await watched(config)
  return {
    ...opened,
    name: nameOfHome(config),
    isServed,
    async close() {
      release()
      await opened.close()
    },
  }
}

async function watched({ postgres, dataDir }: Config): Promise<{ isServed: boolean; release: () => void }> {
  const release = () => {}
  if (postgres) {
    const { isLed } = await import('../db/postgres/postgres.ts')
    return { isServed: await isLed(postgres, 'sweep'), release }
  }
  const lock = path.join(dataDir, 'server.lock')
  if (!existsSync(lock)) return { isServed: false, release }
  try {
    return { isServed: false, release: await lockInstance(lock, 0) }
  } catch (error) {
    if (!isTaken(error)) throw error
    return { isServed: true, release }
  }
}

const served = (config: Config) =>
  new Error(`a server runs on ${nameOfHome(config)}: it would be filled under the server's hands; stop it first`)

/** Opens the home and makes what of it is missing. @throws a sentence for the operator when a server runs there */
export const openTarget = (config: Config): Promise<Target & { db: Database }> =>
  config.postgres ? openShared(config, config.postgres) : openFile(config)

async function openFile(config: Config): Promise<Target & { db: Database }> {
  for (const directory of [config.dataDir, config.uploadsDir]) await makeDirectory(directory)
  const unlock = await lockInstance(path.join(config.dataDir, 'server.lock'), 0).catch((error) => {
    throw isTaken(error) ? served(config) : error
  })
  try {
    const db = await openSqlite(config.databaseFile)
    return { ...(await openPlaces(config, true)), ...ended(config, db, unlock) }
  } catch (error) {
    unlock()
    throw error
  }
}

async function openShared(
  config: Config,
  postgres: NonNullable<Config['postgres']>,
): Promise<Target & { db: Database }> {
  const { openShared } = await import('../db/postgres/shared.ts')
  const shared = await openShared(postgres, () => {})
  // Servers take the lead of the sweep by turns, and so does this.
  if (!(await shared.claims.leads('sweep'))) {
    await shared.close()
    throw served(config)
  }
  const { db } = shared
  return { ...(await openPlaces(config, true)), ...ended(config, db, () => {}), close: () => shared.close() }
}

const ended = (config: Config, db: Database, unlock: () => void) => ({
  db,
  name: nameOfHome(config),
  async close() {
    await db.close()
    unlock()
  },
})

async function openPlaces(config: Config, isMade: boolean): Promise<Omit<Places, 'close'>> {
  if (config.store) return openBucket(config.store)
  if (isMade) await makeDirectory(config.recordingsDir)
  return openDisk(config)
}

const NOTHING: Reading = { get: () => undefined, all: () => [] }

/** The home as it is, to be looked at; where there are no tables yet, it has nothing. */
export async function lookAtTarget(config: Config): Promise<Target> {
  const places = await openPlaces(config, false)
  const name = nameOfHome(config)
  if (!config.postgres && !existsSync(config.databaseFile))
    return { ...places, name, db: NOTHING, close: async () => {} }
  const tables = await openTables(config)
  const close = () => tables.close()
  const isMade = await knowsRecordings(tables).then(
    () => true,
    (error) => {
      if (!config.postgres || !/does not exist/.test(`${error.cause ?? error}`)) throw error
      return false
    },
  )
  return { ...places, name, db: isMade ? tables : NOTHING, close }
}

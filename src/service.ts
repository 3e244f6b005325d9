/**
 * Everything the service needs, opened in order and closed in reverse. The server, the operator's commands and the tests
 * all start here.
 */

import path from 'node:path'
import { createTokens, type Tokens } from './auth/tokens.ts'
import { type Clock, systemClock } from './clock.ts'
import type { Config } from './config/config.ts'
import { keptSecret } from './config/kept-secret.ts'
import { type Claims, claimsOfOne } from './db/claims.ts'
import type { Database } from './db/database.ts'
import { lockInstance } from './db/instance-lock.ts'
import { openSqlite } from './db/sqlite.ts'
import { promisedUploads } from './db/uploads.ts'
import { createEvents, type Events } from './events.ts'
import { createLog, type Log } from './log.ts'
import { Inspector } from './media/inspect.ts'
import { createPlaybackLinks, type PlaybackLinks } from './playback/links.ts'
import { makeDirectory } from './storage/disk/directories.ts'
import { openDiskLibrary } from './storage/disk/disk-library.ts'
import { DiskStaging } from './storage/disk/disk-staging.ts'
import type { Library } from './storage/library.ts'
import { createSpace, type Promised, type Space } from './storage/space.ts'
import type { Staging } from './storage/staging.ts'
import type { Traces } from './tracing/traces.ts'
import { createIngest, type Ingest } from './uploads/ingest.ts'
import { LeftForms } from './uploads/left-forms.ts'
import { Ownership } from './uploads/ownership.ts'
import { recall } from './uploads/recall.ts'
import { Sweeper } from './uploads/sweeper.ts'

export interface Service {
  readonly config: Config
  readonly clock: Clock
  readonly log: Log
  readonly events: Events
  readonly db: Database
  readonly claims: Claims
  readonly tokens: Tokens
  readonly staging: Staging
  readonly library: Library
  readonly links: PlaybackLinks
  readonly space: Space
  readonly ingest: Ingest
  readonly ownership: Ownership
  readonly sweep: Sweeper
  /** Where an address for them is configured. */
  readonly traces?: Traces
  close(): Promise<void>
}

/** What open uploads of known length may still bring. */
async function promised(db: Database): Promise<Promised[]> {
  const rows = await promisedUploads(db)
  return rows.map((row) => ({ ...row, givesWay: row.offset === 0 }))
}

/** The database, and what else all instances have in common that use it. */
interface Common {
  db: Database
  claims: Claims
  clock: Clock
  close(): Promise<void>
}

/** Of the two databases, the other one's code is not even loaded. */
async function openCommon({ postgres, databaseFile }: Config, clock: Clock, events: Events): Promise<Common> {
  if (!postgres) {
    const db = await openSqlite(databaseFile)
    return { db, claims: claimsOfOne, clock, close: () => db.close() }
  }
  const { openShared } = await import('./db/postgres/shared.ts')
  const shared = await openShared(postgres, (err) => events.sessionLost({ err }))
  // A clock that a test moves is the time for all that it starts.
  return clock === systemClock ? shared : { ...shared, clock }
}

/** Where bytes lie. */
interface Stores {
  staging: Staging
  library: Library
  close(): void
}

/** Of the two homes, the other one's code is not even loaded. */
async function openStores({ store, uploadsDir, recordingsDir, crashAt }: Config): Promise<Stores> {
  if (store) {
    const { openS3Stores } = await import('./storage/s3/s3-stores.ts')
    return openS3Stores(store, uploadsDir)
  }
  const library = await openDiskLibrary(recordingsDir, (name) => {
    if (name === crashAt) process.kill(process.pid, 'SIGKILL')
  })
  return { library, staging: new DiskStaging({ directory: uploadsDir, library }), close: () => library.close() }
}

/** A server that is being replaced needs a while to end. */
export const LOCK_WAIT_MS = 5_000

/**
 * @param clock the time, which tests move
 * @param lockWaitMs how long another server on the same data directory is waited for
 * @param whenAlone awaited once there is no other, before anything is opened that may take a while
 * @throws when it is still there then, or when a directory or the database can't be opened
 */
export async function createService(
  config: Config,
  clock: Clock = systemClock,
  log: Log = createLog(config),
  lockWaitMs: number = LOCK_WAIT_MS,
  whenAlone: () => Promise<void> = async () => {},
): Promise<Service> {
  const { dataDir, uploadsDir, recordingsDir, store } = config
  // Beside a store, what lies on this machine is there for a moment.
  for (const directory of [dataDir, uploadsDir, ...(store ? [] : [recordingsDir])]) await makeDirectory(directory)
  const unlock = config.postgres ? () => {} : await lockInstance(path.join(config.dataDir, 'server.lock'), lockWaitMs)
  try {
    await whenAlone()
    return await openService(config, clock, log, unlock)
  } catch (error) {
    unlock()
    throw error
  }
}

/** In the file of an instance, it would be of no use to the others: they are given it by a setting. */
const linkSecret = async ({ playback, dataDir }: Config): Promise<Uint8Array> =>
  playback.linkSecret ?? keptSecret(path.join(dataDir, 'playback-links-secret'))

/** Without an address to post them to, their code is not even loaded. */
async function openTracesOf({ traces }: Config, log: Log): Promise<Traces | undefined> {
  if (!traces) return undefined
  const { openTraces } = await import('./tracing/traces.ts')
  return openTraces(traces, log)
}

interface Watched extends Pick<Service, 'db' | 'staging' | 'library' | 'ingest'> {
  inspector: Inspector
}

/** What is worth a span of its own below its request's. */
function watch(traces: Traces, { db, staging, library, ingest, inspector }: Watched): void {
  traces.watch('database', db, ['write'])
  traces.watch('store', library, ['acquire', 'sizeOf', 'remove'])
  traces.watch('media', inspector, ['inspect'])
  traces.watch('upload', ingest.finishes, ['finish'])
  const of = staging.of.bind(staging)
  // Each upload has a handle of its own.
  staging.of = (...args) => {
    const staged = of(...args)
    traces.watch('store', staged, ['append', 'write', 'sync', 'moveTo', 'discard'])
    return staged
  }
}

async function openService(config: Config, ownClock: Clock, log: Log, unlock: () => void): Promise<Service> {
  const events = createEvents(log)
  const traces = await openTracesOf(config, log)
  // Logins come from elsewhere, where the time is the world's.
  const tokens = await createTokens(config.auth, ownClock)
  const common = await openCommon(config, ownClock, events)
  const { db, claims, clock } = common
  const stores = await openStores(config)
  const { staging, library } = stores
  const space = await createSpace({ staging, library }, config.uploads.minFreeBytes, await promised(db))
  const links = createPlaybackLinks(await linkSecret(config), clock)
  const ownership = new Ownership({
    load: (id) => recall({ db, staging, library }, id),
    onTakeover: (uploadId) => events.lockTakenOver({ uploadId }),
    claims: config.postgres && claims,
  })
  const inspector = new Inspector({ deadlineMs: config.mediaDeadlineMs })
  const ingest = createIngest({
    db,
    library,
    space,
    inspector,
    events,
    clock,
    limits: config.uploads,
    crashAt: config.crashAt,
    staging,
    ownership,
  })
  const sweep = new Sweeper({
    db,
    staging,
    library,
    claims,
    leftForms: await LeftForms.open({ db, claims, isShared: config.postgres !== undefined }),
    ingest,
    events,
    clock,
    limits: config.uploads,
  })
  if (traces) watch(traces, { db, staging, library, ingest, inspector })

  return {
    config,
    clock,
    log,
    events,
    db,
    claims,
    tokens,
    staging,
    library,
    links,
    space,
    ingest,
    ownership,
    sweep,
    ...(traces && { traces }),
    async close() {
      ingest.drain()
      await sweep.stop()
      await ingest.settled()
      await inspector.close()
      stores.close()
      try {
        await common.close()
      } finally {
        unlock()
        await traces?.close()
      }
    },
  }
}

/**
 * `call-recordings sweep`: what the server does by itself, done or shown; and what only an operator may have done.
 *
 * With `--dry-run` it only reads, and works beside a running server. Without, a server on this disk must be down, since it
 * has its directory alone; over PostgreSQL and a bucket the command is one more instance, and works beside the others.
 */
import { type Clock, systemClock } from '../clock.ts'
import type { Config } from '../config/config.ts'
import { isTaken } from '../db/instance-lock.ts'
import { recordingsAfter } from '../db/recordings.ts'
import { createLog } from '../log.ts'
import { createService } from '../service.ts'
import { strangers } from '../uploads/strangers.ts'
import { planSweep } from '../uploads/sweep-plan.ts'
import { confirm } from './confirm.ts'
import { assertDirectory, type Existing, nameOf, openExisting, openTables } from './existing.ts'
import type { Output } from './output.ts'
import { inUnits } from './progress.ts'
import { itemOf, tellStep } from './sweep-words.ts'

export interface SweepOptions {
  dryRun: boolean
  /** Sets the recordings aside that no row has ever heard of. */
  unknown: boolean
  /** Does so unasked. */
  yes: boolean
}

/** The strangers that can be judged; tells how many could not. */
async function* judged(parts: Parameters<typeof strangers>[0], output: Output) {
  let young = 0
  for await (const stranger of strangers(parts)) {
    if (stranger.what === 'young') young += 1
    else yield stranger
  }
  if (young > 0) {
    output.sum({ passed_over: young }, `${young} younger than an hour ${young === 1 ? 'was' : 'were'} passed over`)
  }
}

/** Beside a bucket, uploads need no directory. */
async function assertUploads({ store, uploadsDir }: Config): Promise<void> {
  if (!store) await assertDirectory(uploadsDir, 'RECORDINGS_UPLOADS_DIR')
}

async function plan(config: Config, output: Output, clock: Clock): Promise<void> {
  const { db, staging, library, close } = await openExisting(config, await openTables(config))
  const parts = { db, staging, library, clock, limits: config.uploads }
  let steps = 0
  try {
    await assertUploads(config)
    for await (const step of planSweep(parts)) {
      if (step.act !== 'report') steps += 1
      tellStep(output, step)
    }
    for await (const step of judged(parts, output)) tellStep(output, step)
    output.sum({ to_do: steps }, steps === 0 ? 'nothing to do' : `${steps} to do; nothing was done`)
  } finally {
    await close()
  }
}

/** @throws a sentence for the operator when a step failed */
async function carryOut(config: Config, setUnknownAside: boolean, output: Output, clock: Clock): Promise<void> {
  const log = createLog({ ...config, logLevel: 'silent' })
  const service = await createService(config, clock, log, 0)
  const { events, library } = service
  let steps = 0
  try {
    await service.sweep.runWhole((step) => {
      if (step.act !== 'report') steps += 1
      tellStep(output, step)
    })
    for await (const stranger of judged(service, output)) {
      if (!setUnknownAside || stranger.what !== 'unknown') {
        tellStep(output, stranger)
        continue
      }
      const to = await library.quarantine(stranger.file, clock.now())
      steps += 1
      const place = config.store ? to : `recordings/${to}`
      output.tell(
        { ...itemOf(stranger), type: 'set_aside', to: place },
        `set aside recordings/${stranger.file} (${inUnits(stranger.bytes)}): for a week in ${place}`,
      )
    }
    output.sum({ done: steps }, steps === 0 ? 'there was nothing to do' : `${steps} done`)
  } finally {
    await service.close()
  }
  const failed = events.counters.sweepFailed + events.counters.finishFailed
  if (failed > 0) throw new Error(`${failed} failed; the server tries them again, and its log says why`)
}

/** As many of the database's recordings as are looked for. */
const SAMPLE = 200

/** Whether the files in the recordings directory are those of another database. */
async function areMostlyMissing({ db, library }: Pick<Existing, 'db' | 'library'>): Promise<boolean> {
  const known = await recordingsAfter(db, '', SAMPLE)
  let missing = 0
  for (const { path } of known) if ((await library.sizeOf(path)) === undefined) missing += 1
  return missing * 2 > known.length
}

/** What speaks against it, of what is there; undefined when nothing does. */
async function objectionTo(config: Config, { unknown }: Pick<SweepOptions, 'unknown'>): Promise<string | undefined> {
  const existing = await openExisting(config, await openTables(config))
  const { isUsed, place } = existing
  const isElsewhere = unknown && isUsed && (await areMostlyMissing(existing))
  await existing.close()
  await assertUploads(config)
  if (isElsewhere) {
    const asked = config.store
      ? 'bucket of this database (RECORDINGS_STORE)'
      : 'directory of this database (RECORDINGS_DIR)'
    return `Most recordings that the database knows are not in ${place}: nothing was done. Is it the ${asked}?`
  }
  if (!unknown || isUsed) return undefined
  return (
    `The database ${nameOf(config)} knows no recording, so that all would be unknown: nothing was done. ` +
    'Is it the one of these recordings?'
  )
}

/** @returns the exit code @throws a sentence for the operator when it was not, or not all, done */
export async function sweep(
  config: Config,
  options: SweepOptions,
  output: Output,
  clock: Clock = systemClock,
): Promise<number> {
  if (options.dryRun) {
    await plan(config, output, clock)
    return 0
  }
  const objection = await objectionTo(config, options)
  if (objection !== undefined) throw new Error(objection)
  if (options.unknown) {
    await confirm('sets every recording aside that the database has never heard of; after a week they go', options.yes)
  }
  try {
    await carryOut(config, options.unknown, output, clock)
    return 0
  } catch (error) {
    if (!isTaken(error)) throw error
    throw new Error('The server runs on this data directory and sweeps it by itself; --dry-run shows what it would do.')
  }
}

/**
 * `call-recordings sweep`: what the server does by itself, done or shown; and what only an operator may have done.
 *
 * With `--dry-run` it only reads, and works beside a running server. Without, a server on this disk must be down, since it
 * has its directory alone; over PostgreSQL and a bucket the command is one more instance, and works beside the others.
 */
import { type Clock, systemClock } from '../clock.ts'
import type { Config } from '../config/config.ts'
import { recordingsAfter } from '../db/recordings.ts'
import { createLog } from '../log.ts'
import { createService } from '../service.ts'
import { type Stranger, strangers } from '../uploads/strangers.ts'
import { planSweep } from '../uploads/sweep-plan.ts'
import type { Step } from '../uploads/sweep-steps.ts'
import { assertDirectory, type Existing, nameOf, openExisting, openTables } from './existing.ts'
import { inUnits } from './progress.ts'

export interface SweepOptions {
  dryRun: boolean
  /** Sets the recordings aside that no row has ever heard of. */
  unknown: boolean
}

type Told = Exclude<Step | Stranger, { what: 'young' }>

function sentence(step: Told): string {
  switch (step.act) {
    case 'finish':
      return `finish   upload ${step.uploadId}: it is whole`
    case 'expire':
      return `expire   upload ${step.uploadId}: silent for too long, with ${inUnits(step.offset)}`
    case 'drop':
      return `drop     the rows of the bytes of upload ${step.uploadId}: it is over`
    case 'forget':
      return `forget   upload ${step.uploadId}: it ended long ago`
    case 'remove':
      return `remove   ${step.from}/${step.file} (${inUnits(step.bytes)}): ${step.why}`
    case 'report':
      switch (step.what) {
        case 'upload':
          return `MISSING  the ${inUnits(step.offset)} of upload ${step.uploadId}`
        case 'recording':
          return `MISSING  the file of recording ${step.recordingId}: recordings/${step.path}`
        case 'unknown':
          return `unknown  recordings/${step.file} (${inUnits(step.bytes)}): no row has ever heard of it`
        case 'stray':
          return `stray    recordings/${step.file}: it is none of the service's, and left alone`
      }
  }
}

const say = (text: string) => process.stdout.write(`${text}\n`)

/** The strangers that can be judged; tells how many could not. */
async function* judged(parts: Parameters<typeof strangers>[0]) {
  let young = 0
  for await (const stranger of strangers(parts)) {
    if (stranger.what === 'young') young += 1
    else yield stranger
  }
  if (young > 0) say(`${young} younger than an hour ${young === 1 ? 'was' : 'were'} passed over`)
}

/** Beside a bucket, uploads need no directory. */
async function assertUploads({ store, uploadsDir }: Config): Promise<void> {
  if (!store) await assertDirectory(uploadsDir, 'RECORDINGS_UPLOADS_DIR')
}

async function plan(config: Config, clock: Clock): Promise<void> {
  const { db, staging, library, close } = await openExisting(config, await openTables(config))
  const parts = { db, staging, library, clock, limits: config.uploads }
  let steps = 0
  try {
    await assertUploads(config)
    for await (const step of planSweep(parts)) {
      if (step.act !== 'report') steps += 1
      say(sentence(step))
    }
    for await (const step of judged(parts)) say(sentence(step))
    say(steps === 0 ? 'nothing to do' : `${steps} to do; nothing was done`)
  } finally {
    await close()
  }
}

/** @returns the exit code: 1 when a step failed */
async function carryOut(config: Config, setUnknownAside: boolean, clock: Clock): Promise<number> {
  const log = createLog({ ...config, logLevel: 'silent' })
  const service = await createService(config, clock, log, 0)
  const { events, library } = service
  let steps = 0
  try {
    await service.sweep.runWhole((step) => {
      if (step.act !== 'report') steps += 1
      say(sentence(step))
    })
    for await (const stranger of judged(service)) {
      if (!setUnknownAside || stranger.what !== 'unknown') {
        say(sentence(stranger))
        continue
      }
      const to = await library.quarantine(stranger.file, clock.now())
      steps += 1
      const place = config.store ? to : `recordings/${to}`
      say(`set aside recordings/${stranger.file} (${inUnits(stranger.bytes)}): for a week in ${place}`)
    }
    say(steps === 0 ? 'there was nothing to do' : `${steps} done`)
  } finally {
    await service.close()
  }
  const { sweepFailed, finishFailed } = events.counters
  if (sweepFailed + finishFailed === 0) return 0
  process.stderr.write(`${sweepFailed + finishFailed} failed; the server tries them again, and its log says why\n`)
  return 1
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
async function objectionTo(config: Config, { unknown }: SweepOptions): Promise<string | undefined> {
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

/** @returns the exit code: 1 when it was not, or not all, done */
export async function sweep(config: Config, options: SweepOptions, clock = systemClock): Promise<number> {
  if (options.dryRun) {
    await plan(config, clock)
    return 0
  }
  const objection = await objectionTo(config, options)
  if (objection !== undefined) {
    process.stderr.write(`${objection}\n`)
    return 1
  }
  try {
    return await carryOut(config, options.unknown, clock)
  } catch (error) {
    if (!/another server uses this data directory/.test((error as Error).message)) throw error
    process.stderr.write(
      'The server runs on this data directory and sweeps it by itself; --dry-run shows what it would do.\n',
    )
    return 1
  }
}

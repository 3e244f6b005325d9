/**
 * `call-recordings sweep`: what the server does by itself, done or shown.
 *
 * With `--dry-run` it only reads, and works beside a running server; without, the server must be down.
 */
import { systemClock } from '../clock.ts'
import type { Config } from '../config/config.ts'
import { openForReading } from '../db/database.ts'
import { createLog } from '../log.ts'
import { createService } from '../service.ts'
import { openLibrary } from '../storage/disk/library.ts'
import { planSweep, type Step, unknownRecordings } from '../uploads/sweep.ts'
import { inUnits } from './progress.ts'

export interface SweepOptions {
  dryRun: boolean
  /** Removes the recordings that no row has ever heard of, too. */
  unknown: boolean
}

function sentence(step: Step): string {
  switch (step.act) {
    case 'finish':
      return `finish   upload ${step.uploadId}: it is whole`
    case 'expire':
      return `expire   upload ${step.uploadId}: silent for too long, with ${inUnits(step.offset)}`
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
      }
  }
}

const say = (text: string) => process.stdout.write(`${text}\n`)

async function plan(config: Config): Promise<void> {
  const db = openForReading(config.databaseFile)
  const library = await openLibrary(config.recordingsDir)
  const parts = { db, library, uploadsDir: config.uploadsDir, clock: systemClock, limits: config.uploads }
  let steps = 0
  const show = (step: Step) => {
    steps += 1
    say(sentence(step))
  }
  try {
    for await (const step of planSweep(parts)) show(step)
    for await (const step of unknownRecordings(parts)) show(step)
    say(steps === 0 ? 'nothing to do' : `${steps} to do; nothing was done`)
  } finally {
    library.close()
    await db.close()
  }
}

async function carryOut(config: Config, removeUnknown: boolean): Promise<void> {
  const log = createLog({ ...config, logLevel: 'silent' })
  const service = await createService(config, systemClock, log, 0)
  const parts = { ...service, uploadsDir: config.uploadsDir, limits: config.uploads }
  let steps = 0
  const show = (step: Step) => {
    steps += 1
    say(sentence(step))
  }
  try {
    await service.sweep.runWhole(show)
    for await (const step of unknownRecordings(parts)) {
      if (removeUnknown) await service.library.remove(step.file)
      show(
        removeUnknown
          ? { act: 'remove', from: 'recordings', file: step.file, bytes: step.bytes, why: 'unknown' }
          : step,
      )
    }
    say(steps === 0 ? 'there was nothing to do' : `${steps} done`)
  } finally {
    await service.close()
  }
}

/** @returns the exit code: 1 when a server runs on the same data directory */
export async function sweep(config: Config, { dryRun, unknown }: SweepOptions): Promise<number> {
  if (dryRun) {
    await plan(config)
    return 0
  }
  try {
    await carryOut(config, unknown)
    return 0
  } catch (error) {
    if (!/another server uses this data directory/.test((error as Error).message)) throw error
    process.stderr.write(
      'The server runs on this data directory and sweeps it by itself; --dry-run shows what it would do.\n',
    )
    return 1
  }
}

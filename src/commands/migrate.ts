/**
 * `call-recordings migrate --to FILE`: everything that a home has is brought into another one, of which FILE has the settings.
 *
 * A server may run on the first one meanwhile; then it is run once more with that server down, which brings what is new. Nothing
 * is changed at the source. It can be broken off at any point and run again: bytes come before the rows that name them, and
 * rows in the order of what they refer to. At the end it looks at both once more, and finds nothing left to do.
 */
import type { Config } from '../config/config.ts'
import { recordingTotals } from '../db/recordings.ts'
import { type Move, newTally, type Tally } from './both-ends.ts'
import { confirm } from './confirm.ts'
import { lookAtTarget, openSource, openTarget, readTarget, type Source, sharedBy, type Target } from './homes.ts'
import { moveDeletions, moveRecordings } from './move-recordings.ts'
import { moveLeads, moveTombstones } from './move-rows.ts'
import { moveUploads } from './move-uploads.ts'
import type { Output } from './output.ts'
import { createProgress, inUnits, type Progress } from './progress.ts'

export interface MigrateOptions {
  /** A file of settings. */
  to: string
  dryRun: boolean
  /** What only the target has goes, also where the source does not know that it was deleted. */
  removeOthers: boolean
  /** Removes them unasked. */
  yes: boolean
}

const NO_PROGRESS: Progress = { advance() {}, done() {} }

async function moveAll(move: Move): Promise<Tally> {
  await moveLeads(move)
  await moveRecordings(move)
  await moveUploads(move)
  await moveDeletions(move)
  await moveTombstones(move)
  return move.tally
}

const counted = (count: number, what: string) => `${count} ${what}${count === 1 ? '' : 's'}`

function tell({ leads, calls, recordings, uploads, deleted, others }: Tally, done: string, output: Output): void {
  const { say } = output
  say(`leads       ${leads.seen}, ${leads.written} ${done}`)
  say(`calls       ${calls.seen}, ${calls.written} ${done}`)
  say(
    `recordings  ${recordings.seen} (${inUnits(recordings.bytes)}), ` +
      `${recordings.written} (${inUnits(recordings.writtenBytes)}) ${done}`,
  )
  say(`uploads     ${uploads.seen}, ${uploads.open} of them open, ${uploads.written} ${done}`)
  if (deleted > 0) say(`deleted     ${counted(deleted, 'recording')} that the source has no more`)
  output.sum({
    leads: { ...leads },
    calls: { ...calls },
    recordings: {
      seen: recordings.seen,
      written: recordings.written,
      bytes: recordings.bytes,
      written_bytes: recordings.writtenBytes,
    },
    uploads: { ...uploads },
    deleted,
    others,
  })
}

/** @returns whether nothing stands in the way of the target's taking over */
function tellFaults({ faults, others }: Tally, output: Output): boolean {
  for (const fault of faults) output.warn({ type: 'left_out', fault }, `not carried over: ${fault}`)
  if (others > 0) {
    output.warn(
      { type: 'others', recordings: others },
      `${counted(others, 'recording')} of the target the source does not have: deleted there since, or made at the ` +
        'target, if it was in use; --remove-others removes them',
    )
  }
  return faults.length === 0 && others === 0
}

const left = ({ leads, calls, recordings, uploads }: Tally) =>
  leads.written + calls.written + recordings.written + uploads.written

/** Looks at both once more. @returns whether they are the same */
async function compare(source: Source, target: Target, removesOthers: boolean, output: Output): Promise<boolean> {
  const there = await moveAll({
    source,
    target,
    write: undefined,
    removesOthers,
    tally: newTally(),
    progress: NO_PROGRESS,
  })
  const { leads, calls, recordings, uploads } = there
  const rest = left(there)
  const of = [
    counted(leads.seen, 'lead'),
    counted(calls.seen, 'call'),
    `${counted(recordings.seen, 'recording')} (${inUnits(recordings.bytes)})`,
    counted(uploads.seen, 'upload'),
  ].join(', ')
  const isSame = rest === 0 && there.faults.length === 0
  const outcome = isSame ? 'the same at both ends' : `${rest} are not the same at both ends`
  output.sum({ same_at_both_ends: isSame, different: rest }, `compared: ${of}: ${outcome}`)
  return isSame
}

async function carryOut(
  source: Source,
  config: Config,
  { removeOthers }: MigrateOptions,
  output: Output,
): Promise<number> {
  const target = await openTarget(config)
  try {
    const { bytes } = await recordingTotals(source.db)
    const progress = createProgress('copying', bytes, process.stderr)
    const write: Move['write'] = (...statements) => target.db.write(...statements)
    const move = { source, target, write, removesOthers: removeOthers, tally: newTally(), progress }
    const tally = await moveAll(move).finally(() => progress.done())
    tell(tally, 'copied', output)
    const isWhole = tellFaults(tally, output)
    const isSame = await compare(source, target, removeOthers, output)
    output.sum({ source_is_served: source.isServed })
    if (!source.isServed) return isWhole && isSame ? 0 : 1
    output.say(
      `A server runs on ${source.name}: what it takes in from now on is not at the target. ` +
        'Stop it, and run the same command once more.',
    )
    return isWhole ? 0 : 1
  } finally {
    await target.close()
  }
}

async function show(source: Source, config: Config, { removeOthers }: MigrateOptions, output: Output): Promise<number> {
  const target = await lookAtTarget(config)
  try {
    const move = { source, target, write: undefined, removesOthers: removeOthers }
    const tally = await moveAll({ ...move, tally: newTally(), progress: NO_PROGRESS })
    tell(tally, 'to be copied', output)
    const isWhole = tellFaults(tally, output)
    output.say('nothing was done')
    return isWhole ? 0 : 1
  } finally {
    await target.close()
  }
}

/** @returns the exit code: 1 when not all is at the target */
export async function migrate(config: Config, options: MigrateOptions, output: Output): Promise<number> {
  const other = await readTarget(options.to)
  const shared = sharedBy(config, other)
  if (shared !== undefined) {
    throw new Error(`${options.to} names the home that is to be moved itself: both have ${shared}`)
  }
  if (options.removeOthers && !options.dryRun) {
    await confirm(`removes every recording of the home of ${options.to} that this one does not have`, options.yes)
  }
  const source = await openSource(config)
  try {
    output.say(`from ${source.name} to ${other.store ? 'PostgreSQL and S3' : other.dataDir}`)
    return await (options.dryRun ? show : carryOut)(source, other, options, output)
  } finally {
    await source.close()
  }
}

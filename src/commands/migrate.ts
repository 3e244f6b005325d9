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
import { lookAtTarget, openSource, openTarget, readTarget, type Source, sharedBy, type Target } from './homes.ts'
import { moveDeletions, moveRecordings } from './move-recordings.ts'
import { moveLeads, moveTombstones } from './move-rows.ts'
import { moveUploads } from './move-uploads.ts'
import { createProgress, inUnits, type Progress } from './progress.ts'

export interface MigrateOptions {
  /** A file of settings. */
  to: string
  dryRun: boolean
  /** What only the target has goes, also where the source does not know that it was deleted. */
  removeOthers: boolean
}

const say = (text: string) => process.stdout.write(`${text}\n`)
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

function tell({ leads, calls, recordings, uploads, deleted }: Tally, done: string): void {
  say(`leads       ${leads.seen}, ${leads.written} ${done}`)
  say(`calls       ${calls.seen}, ${calls.written} ${done}`)
  say(
    `recordings  ${recordings.seen} (${inUnits(recordings.bytes)}), ` +
      `${recordings.written} (${inUnits(recordings.writtenBytes)}) ${done}`,
  )
  say(`uploads     ${uploads.seen}, ${uploads.open} of them open, ${uploads.written} ${done}`)
  if (deleted > 0) say(`deleted     ${counted(deleted, 'recording')} that the source has no more`)
}

/** @returns whether nothing stands in the way of the target's taking over */
function tellFaults({ faults, others }: Tally): boolean {
  for (const fault of faults) process.stderr.write(`not carried over: ${fault}\n`)
  if (others > 0) {
    process.stderr.write(
      `${counted(others, 'recording')} of the target the source does not have: deleted there since, or made at the ` +
        'target, if it was in use; --remove-others removes them\n',
    )
  }
  return faults.length === 0 && others === 0
}

const left = ({ leads, calls, recordings, uploads }: Tally) =>
  leads.written + calls.written + recordings.written + uploads.written

/** Looks at both once more. @returns whether they are the same */
async function compare(source: Source, target: Target, removesOthers: boolean): Promise<boolean> {
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
  if (rest === 0 && there.faults.length === 0) {
    say(`compared: ${of}: the same at both ends`)
    return true
  }
  say(`compared: ${of}: ${rest} are not the same at both ends`)
  return false
}

async function carryOut(source: Source, config: Config, { removeOthers }: MigrateOptions): Promise<number> {
  const target = await openTarget(config)
  try {
    const { bytes } = await recordingTotals(source.db)
    const progress = createProgress('copying', bytes, process.stderr)
    const write: Move['write'] = (...statements) => target.db.write(...statements)
    const move = { source, target, write, removesOthers: removeOthers, tally: newTally(), progress }
    const tally = await moveAll(move).finally(() => progress.done())
    tell(tally, 'copied')
    const isWhole = tellFaults(tally)
    const isSame = await compare(source, target, removeOthers)
    if (!source.isServed) return isWhole && isSame ? 0 : 1
    say(
      `A server runs on ${source.name}: what it takes in from now on is not at the target. ` +
        'Stop it, and run the same command once more.',
    )
    return isWhole ? 0 : 1
  } finally {
    await target.close()
  }
}

async function show(source: Source, config: Config, { removeOthers }: MigrateOptions): Promise<number> {
  const target = await lookAtTarget(config)
  try {
    const move = { source, target, write: undefined, removesOthers: removeOthers }
    const tally = await moveAll({ ...move, tally: newTally(), progress: NO_PROGRESS })
    tell(tally, 'to be copied')
    const isWhole = tellFaults(tally)
    say('nothing was done')
    return isWhole ? 0 : 1
  } finally {
    await target.close()
  }
}

/** @returns the exit code: 1 when not all is at the target */
export async function migrate(config: Config, options: MigrateOptions): Promise<number> {
  const other = await readTarget(options.to)
  const shared = sharedBy(config, other)
  if (shared !== undefined) {
    process.stderr.write(`${options.to} names the home that is to be moved itself: both have ${shared}\n`)
    return 1
  }
  const source = await openSource(config)
  try {
    say(`from ${source.name} to ${other.store ? 'PostgreSQL and S3' : other.dataDir}`)
    return await (options.dryRun ? show : carryOut)(source, other, options)
  } finally {
    await source.close()
  }
}

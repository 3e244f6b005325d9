/**
 * `call-recordings verify`: reads every recording and compares its size and SHA-256 with its row.
 *
 * Only reads; works beside running servers. Of a bucket, a list tells what is missing, or is of another size.
 */
import { createHash } from 'node:crypto'
import { type Clock, systemClock } from '../clock.ts'
import type { Config } from '../config/config.ts'
import { isRecorded, recordingTotals } from '../db/recordings.ts'
import type { Recording } from '../db/schema.ts'
import type { Library } from '../storage/library.ts'
import { type Existing, openExisting, openTables } from './existing.ts'
import type { Output } from './output.ts'
import { createProgress, inUnits, type Progress } from './progress.ts'
import { eachSized, type SizedRecording } from './sized-recordings.ts'
import {
  type Course,
  courseIn,
  forgetCourse,
  keepCourse,
  sinceOf,
  takesNext,
  type VerifyOptions,
  wantedOf,
} from './verify-course.ts'

const readable = (error: unknown) => (error as NodeJS.ErrnoException).code ?? (error as Error).message

/** What is wrong with a recording's bytes; undefined when nothing is. */
async function faultOf(
  library: Library,
  { recording, size }: SizedRecording,
  progress: Progress,
): Promise<string | undefined> {
  if (size === undefined) return 'cannot be read: ENOENT'
  if (size !== recording.size) return `has ${size} bytes instead of ${recording.size}`
  try {
    const bytes = await library.acquire(recording.path, size)
    try {
      const hash = createHash('sha256')
      for await (const piece of bytes.range(0, size - 1)) {
        hash.update(piece)
        progress.advance(piece.length)
      }
      const sha256 = hash.digest('hex')
      return sha256 === recording.sha256 ? undefined : `has SHA-256 ${sha256} instead of ${recording.sha256}`
    } finally {
      bytes.release()
    }
  } catch (error) {
    return `cannot be read: ${readable(error)}`
  }
}

const rangeOf = ({ after, sinceMs }: Course) => ({
  after,
  takes: ({ createdAtMs }: Recording) => createdAtMs >= sinceMs,
})

/** The course of before, if there is one to go on with, or a new one. */
async function courseOf({ db }: Existing, options: VerifyOptions, output: Output, nowMs: number): Promise<Course> {
  const before = options.state === undefined ? undefined : await courseIn(options.state, options)
  if (before) {
    output.say(`goes on after ${before.after}, ${before.recordings} recordings in`)
    return before
  }
  const { since, sample } = options
  const sinceMs = sinceOf(since, nowMs)
  const { count } = await recordingTotals(db, sinceMs)
  const wanted = wantedOf(sample, count)
  return { format: 1, since, sample, sinceMs, after: '', recordings: 0, bytes: 0, damaged: 0, wanted, coming: count }
}

const KEPT_EVERY_MS = 1_000

/** Keeps the course in the file now and then, and once more when something fails. */
async function keeping(file: string | undefined, course: Course, work: (look: () => Promise<void>) => Promise<void>) {
  if (file === undefined) return work(async () => {})
  let keptAtMs = performance.now()
  const look = async () => {
    if (performance.now() - keptAtMs < KEPT_EVERY_MS) return
    await keepCourse(file, course)
    keptAtMs = performance.now()
  }
  try {
    await work(look)
  } catch (error) {
    await keepCourse(file, course)
    throw error
  }
  await forgetCourse(file)
}

/** What is wrong with it, said; nothing of one that was deleted meanwhile. */
async function judge(existing: Existing, sized: SizedRecording, course: Course, progress: Progress, output: Output) {
  const { recording } = sized
  const fault = await faultOf(existing.library, sized, progress)
  if (fault !== undefined && !(await isRecorded(existing.db, recording.id))) return
  if (fault !== undefined) {
    progress.done()
    output.tell(
      { type: 'damaged', recording_id: recording.id, lead_id: recording.leadId, path: recording.path, fault },
      `damaged: recording ${recording.id} (${recording.path}) ${fault}`,
    )
    course.damaged += 1
  }
  course.recordings += 1
  course.bytes += recording.size
}

/** @returns the exit code: 1 when a recording is damaged */
export async function verify(
  config: Config,
  options: VerifyOptions,
  output: Output,
  clock: Clock = systemClock,
): Promise<number> {
  const existing = await openExisting(config, await openTables(config))
  const { db } = existing
  try {
    const course = await courseOf(existing, options, output, clock.now())
    const total = await recordingTotals(db, course.sinceMs)
    const share = course.wanted === undefined ? 1 : course.wanted / Math.max(course.coming, 1)
    const progress = createProgress('verifying', total.bytes * Math.min(share, 1), process.stderr)
    await keeping(options.state, course, async (look) => {
      for await (const sized of eachSized(existing, rangeOf(course))) {
        if (takesNext(course)) await judge(existing, sized, course, progress, output)
        course.after = sized.recording.path
        await look()
      }
    })
    progress.done()
    const { recordings, bytes, damaged } = course
    const outcome = damaged === 0 ? 'all as they were stored' : `${damaged} damaged`
    const of = course.wanted === undefined ? '' : ` of ${total.count}`
    output.sum(
      { recordings, bytes, damaged, of: total.count },
      `${recordings}${of} recordings, ${inUnits(bytes)}: ${outcome}`,
    )
    return damaged === 0 ? 0 : 1
  } finally {
    await existing.close()
  }
}

/**
 * Which recordings a `verify` reads, and how far it has come: all, those of a time, a sample of them; kept in a file, if one is
 * named, so that a run that was broken off goes on where it was.
 */
import { readFile, rename, rm, writeFile } from 'node:fs/promises'
import { timeIn } from '../config/values.ts'
import { UsageError } from './usage-error.ts'

export interface VerifyOptions {
  /** Recordings stored since: a date, a moment, or a time ago such as `7d`. */
  since?: string | undefined
  /** So many of them, or a share such as `5%`, by chance. */
  sample?: string | undefined
  /** A file to go on from. */
  state?: string | undefined
}

/** How far it has come; as it is kept. */
export interface Course {
  format: 1
  /** As they were given. */
  since: string | undefined
  sample: string | undefined
  sinceMs: number
  /** The path of the last recording that was dealt with. */
  after: string
  recordings: number
  bytes: number
  damaged: number
  /** Of a sample: how many are still wanted, of how many that come. */
  wanted: number | undefined
  coming: number
}

export function sinceOf(text: string | undefined, nowMs: number): number {
  if (text === undefined) return 0
  const agoMs = timeIn(text)
  const atMs =
    agoMs === undefined ? (/^\d{4}-\d\d-\d\d(T|$)/.test(text) ? Date.parse(text) : Number.NaN) : nowMs - agoMs
  if (Number.isNaN(atMs)) {
    throw new UsageError(
      `--since is \`${text}\`: expected a date such as 2026-11-01, 2026-11-01T08:00:00Z, or 7d for a time ago`,
    )
  }
  return atMs
}

/** @returns how many of so many; undefined: all */
export function wantedOf(text: string | undefined, total: number): number | undefined {
  if (text === undefined) return undefined
  const [, number = '', percent] = /^(\d+(?:\.\d+)?)(%?)$/.exec(text) ?? []
  const value = Number(number)
  const isShare = percent === '%'
  if (number === '' || value <= 0 || (isShare ? value > 100 : !Number.isSafeInteger(value))) {
    throw new UsageError(`--sample is \`${text}\`: expected a number of recordings, or a share such as 5%`)
  }
  return isShare ? Math.ceil((total * value) / 100) : value
}

/** Whether the next one is in the sample: each has the same chance (Knuth's algorithm S). */
export function takesNext(course: Course, random: () => number = Math.random): boolean {
  if (course.wanted === undefined) return true
  const takes = course.wanted > 0 && random() * Math.max(course.coming, 1) < course.wanted
  course.coming -= 1
  if (takes) course.wanted -= 1
  return takes
}

/** @throws UsageError for a file that is of another run; undefined where there is none */
export async function courseIn(file: string, { since, sample }: VerifyOptions): Promise<Course | undefined> {
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw new UsageError(`--state: ${file} can't be read (${error.code})`)
  })
  if (text === undefined) return undefined
  let course: Course | undefined
  try {
    course = JSON.parse(text) as Course
  } catch {}
  if (course?.format !== 1 || typeof course.after !== 'string') {
    throw new UsageError(`--state: ${file} is no state of a verify; name another file`)
  }
  if (course.since !== since || course.sample !== sample) {
    const options = [
      ...(course.since === undefined ? [] : [`--since ${course.since}`]),
      ...(course.sample === undefined ? [] : [`--sample ${course.sample}`]),
    ]
    const was = options.length === 0 ? 'without --since and --sample' : `with ${options.join(' ')}`
    throw new UsageError(`--state: ${file} is of a verify ${was}; go on with the same options, or remove it`)
  }
  return course
}

export async function keepCourse(file: string, course: Course): Promise<void> {
  await writeFile(`${file}.new`, `${JSON.stringify(course)}\n`, { mode: 0o600 })
  await rename(`${file}.new`, file)
}

/** It is done: the next run begins anew. */
export const forgetCourse = (file: string): Promise<void> => rm(file, { force: true })

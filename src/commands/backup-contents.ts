/** What a directory that `backup` has made says of itself. */
import { createReadStream } from 'node:fs'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { z } from 'zod'
import { sha256OfFile, sizeOf } from './backup-files.ts'
import { UsageError } from './usage-error.ts'

const manifestSchema = z.looseObject({
  format: z.literal(1),
  created_at: z.string(),
  recordings: z.number(),
  bytes: z.number(),
})

export interface Backup {
  directory: string
  createdAt: string
  recordings: number
  bytes: number
  /** Undefined in one of PostgreSQL and a bucket. */
  database: string | undefined
  /** Another for each backup. */
  id: string
}

export interface SumLine {
  sha256: string
  /** Relative to the backup. */
  file: string
}

const SUMS = 'SHA256SUMS'
/** As `backup` writes it, and nowhere outside. */
const LINE = /^([0-9a-f]{64}) {2}(recordings\.db|recordings\/(?!\.\.?(?:\/|$))[^/]+(?:\/(?!\.\.?(?:\/|$))[^/]+)*)$/

/** @throws UsageError where it is no backup, or one of another version */
export async function backupIn(directory: string): Promise<Backup> {
  const notOne = (reason: string) => new UsageError(`${directory} is no backup: ${reason}. Nothing was done.`)
  const text = await readFile(path.join(directory, 'manifest.json'), 'utf8').catch(
    ({ code }: NodeJS.ErrnoException) => {
      throw notOne(`its manifest.json can't be read (${code}); a whole one has it`)
    },
  )
  const manifest = manifestSchema.safeParse(parsed(text))
  if (!manifest.success) throw notOne('its manifest.json is not of a form that this version knows')
  const sums = path.join(directory, SUMS)
  if ((await sizeOf(sums)) === undefined) throw notOne(`it has no ${SUMS}`)
  const database = path.join(directory, 'recordings.db')
  const { created_at: createdAt, recordings, bytes } = manifest.data
  return {
    directory,
    createdAt,
    recordings,
    bytes,
    database: (await sizeOf(database)) === undefined ? undefined : database,
    id: await sha256OfFile(sums),
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** The sum of the database first, then those of the recordings by their paths. @throws a sentence for the operator */
export async function* sumsIn({ directory }: Pick<Backup, 'directory'>): AsyncGenerator<SumLine> {
  const lines = createInterface({
    input: createReadStream(path.join(directory, SUMS)),
    crlfDelay: Number.POSITIVE_INFINITY,
  })
  let number = 0
  for await (const line of lines) {
    number += 1
    const [, sha256, file] = LINE.exec(line) ?? []
    if (sha256 === undefined || file === undefined) {
      throw new Error(
        `line ${number} of ${path.join(directory, SUMS)} is no sum of a file in it: the backup is damaged`,
      )
    }
    yield { sha256, file }
  }
}

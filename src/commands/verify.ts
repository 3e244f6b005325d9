/**
 * `call-recordings verify`: reads every recording and compares its size and SHA-256 with its row.
 *
 * Only reads; works beside running servers. Of a bucket, a list tells what is missing, or is of another size.
 */
import { createHash } from 'node:crypto'
import type { Config } from '../config/config.ts'
import { isRecorded, recordingTotals } from '../db/recordings.ts'
import type { Library } from '../storage/library.ts'
import { type Existing, openExisting, openTables } from './existing.ts'
import type { Output } from './output.ts'
import { createProgress, inUnits, type Progress } from './progress.ts'
import { type SizedRecording, sizedRecordings } from './sized-recordings.ts'

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

async function* each(existing: Existing): AsyncGenerator<SizedRecording> {
  for await (const page of sizedRecordings(existing)) yield* page
}

/** @returns the exit code: 1 when a recording is damaged */
export async function verify(config: Config, output: Output): Promise<number> {
  const existing = await openExisting(config, await openTables(config))
  const { db, library } = existing
  try {
    const total = await recordingTotals(db)
    const progress = createProgress('verifying', total.bytes, process.stderr)
    let count = 0
    let bytes = 0
    let damaged = 0
    for await (const sized of each(existing)) {
      const { recording } = sized
      const fault = await faultOf(library, sized, progress)
      if (fault !== undefined && !(await isRecorded(db, recording.id))) continue
      count += 1
      bytes += recording.size
      if (fault === undefined) continue
      damaged += 1
      progress.done()
      output.tell(
        { type: 'damaged', recording_id: recording.id, lead_id: recording.leadId, path: recording.path, fault },
        `damaged: recording ${recording.id} (${recording.path}) ${fault}`,
      )
    }
    progress.done()
    const outcome = damaged === 0 ? 'all as they were stored' : `${damaged} damaged`
    output.sum({ recordings: count, bytes, damaged }, `${count} recordings, ${inUnits(bytes)}: ${outcome}`)
    return damaged === 0 ? 0 : 1
  } finally {
    await existing.close()
  }
}

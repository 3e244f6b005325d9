/**
 * The part of a move that is recordings: each is read, hashed and compared with its row on the way, and lies under its path at
 * the target before its row is there.
 */
import { Readable } from 'node:stream'
import { recordingCopied, recordingsAfterPath, recordingsAmong, tombstoneCopied, uploadsAmong } from '../db/copying.ts'
import { isRecorded, recordedPaths, recordingGone } from '../db/recordings.ts'
import type { Recording } from '../db/schema.ts'
import { tombstonesAmong } from '../db/tombstones.ts'
import { newId } from '../ids.ts'
import { STEP } from '../uploads/sweep-steps.ts'
import { byId, isSame, type Move, named, readable } from './both-ends.ts'
import { type SizedRecording, sizedRecordings } from './sized-recordings.ts'

/** Recordings that are on their way at once. */
const AT_ONCE = 4

export async function moveRecordings(move: Move): Promise<void> {
  const { source, target } = move
  const all = sizedRecordings({ db: source.db, library: target.library, isListed: target.isListed })
  for await (const page of all) {
    const there = byId(
      await recordingsAmong(
        target.db,
        page.map(({ recording }) => recording.id),
      ),
    )
    const next = page.values()
    const goOn = async () => {
      for (const sized of next) await moveOne(move, sized, there.get(sized.recording.id))
    }
    await Promise.all(Array.from({ length: AT_ONCE }, goOn))
  }
}

async function moveOne(move: Move, { recording, size }: SizedRecording, there: Recording | undefined): Promise<void> {
  const { source, write, tally, progress } = move
  const { id, path } = recording
  tally.recordings.seen += 1
  tally.recordings.bytes += recording.size
  const isThere = isSame(recording, there)
  if (isThere && size === recording.size) return progress.advance(recording.size)
  if (there && !isThere) {
    tally.faults.push(`recording ${id} (${path}): it is another one there`)
    return
  }
  if (write) {
    const fault = await carried(move, recording, there ? undefined : write)
    if (fault !== undefined) {
      // Deleted meanwhile.
      if (await isRecorded(source.db, id)) tally.faults.push(`recording ${id} (${path}): ${fault}`)
      return
    }
  }
  tally.recordings.written += 1
  tally.recordings.writtenBytes += recording.size
}

/** @param write where its row is not there yet @returns what is wrong with it; undefined when it is at the target */
async function carried(move: Move, recording: Recording, write: Move['write']): Promise<string | undefined> {
  try {
    const fault = await carry(move, recording)
    if (fault !== undefined || !write) return fault
    const changes = await write(...(await named(move, recording)), recordingCopied(recording))
    return changes.at(-1) === 0 ? 'another one has its path or its upload there' : undefined
  } catch (error) {
    return `cannot be carried over: ${readable(error)}`
  }
}

/** @returns what is wrong with its bytes; undefined when they are at the target */
async function carry(move: Move, recording: Recording): Promise<string | undefined> {
  const { source, target, progress } = move
  const { path, size, sha256 } = recording
  const bytes = await source.library.acquire(path)
  const staged = target.staging.of(newId())
  let failed: unknown
  async function* read() {
    try {
      // The memory of a piece is used again for the next.
      for await (const piece of bytes.range(0, size - 1)) {
        progress.advance(piece.length)
        yield Buffer.from(piece)
      }
    } catch (error) {
      failed = error
    }
  }
  const stream = Readable.from(read(), { objectMode: false })
  try {
    if (bytes.size !== size) return `has ${bytes.size} bytes instead of ${size}`
    const written = await staged.append(stream, 0, { length: size })
    if (failed ?? written.error) throw failed ?? written.error
    const came = await staged.sha256(size)
    if (came !== sha256) return `has SHA-256 ${came} instead of ${sha256}`
    await staged.moveTo(path)
  } finally {
    stream.destroy()
    bytes.release()
    await staged.discard().catch(() => {})
  }
  return undefined
}

/** Recordings that the target alone has: deleted at the source since they were carried over, or made at the target. */
export async function moveDeletions(move: Move): Promise<void> {
  const { source, target, tally } = move
  for (let after = ''; ; ) {
    const rows = await recordingsAfterPath(target.db, after, STEP)
    const last = rows.at(-1)
    if (!last) return
    after = last.path
    const paths = rows.map(({ path }) => path)
    const known = new Set(await recordedPaths(source.db, paths))
    const others = rows.filter(({ path }) => !known.has(path))
    if (others.length === 0) continue
    const gone = await deletedAmong(move, others)
    for (const recording of others) {
      if (move.removesOthers || gone.has(recording.id)) await remove(move, recording)
      else tally.others += 1
    }
  }
}

/** Those of which the source still knows that it had them. */
async function deletedAmong({ source }: Move, others: readonly Recording[]): Promise<Set<string>> {
  const paths = new Set(
    await tombstonesAmong(
      source.db,
      others.map(({ path }) => path),
    ),
  )
  const uploads = byId(
    await uploadsAmong(
      source.db,
      others.map(({ uploadId }) => uploadId),
    ),
  )
  const isDeleted = ({ id, path, uploadId }: Recording) => paths.has(path) || uploads.get(uploadId)?.recordingId === id
  return new Set(others.filter(isDeleted).map(({ id }) => id))
}

async function remove({ target, write, tally }: Move, { id, path }: Recording): Promise<void> {
  tally.deleted += 1
  // Its tombstone stays until the sweep of the target has seen that nothing lies there.
  await write?.(recordingGone(id), tombstoneCopied(path))
  if (write) await target.library.remove(path)
}

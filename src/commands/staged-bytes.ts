/**
 * An open upload's bytes at the source of a move, wherever a server that ended at any point has left them.
 *
 * On a disk that is its own file; its key in the library, where its finish was cut short; and for a final upload the files
 * of its parts, as far as they have not been put together yet.
 */
import { createHash } from 'node:crypto'
import type { UploadRow } from '../db/schema.ts'
import { segmentsOf } from '../db/segments.ts'
import { uploadById } from '../db/uploads.ts'
import type { Stretch } from '../storage/staging.ts'
import { isFinal, partIdsOf } from '../uploads/parts.ts'
import type { Source } from './homes.ts'

export interface StagedBytes {
  size: number
  /** From a position to the end. @throws ENOENT when some are gone */
  from(position: number): AsyncIterable<Buffer>
}

type Home = Pick<Source, 'db' | 'staging' | 'library'>

export async function stagedBytes(home: Home, row: UploadRow): Promise<StagedBytes> {
  const { db, staging, library } = home
  const { id, offset, key, length } = row
  if (staging.segmented) {
    return { size: offset, from: read(home, id, offset, await segmentsOf(db, id)) }
  }
  const own = await staging.of(id).size()
  const hasMoved = own === undefined && key !== null && length !== null && (await library.sizeOf(key)) === length
  if (hasMoved) return { size: length, from: (position) => pieces(library, key, position, length) }
  if (isFinal(row)) return { size: offset, from: await readParts(home, row) }
  return { size: offset, from: read(home, id, offset, []) }
}

const read =
  ({ staging }: Home, id: string, size: number, segments: Awaited<ReturnType<typeof segmentsOf>>) =>
  (position: number) =>
    staging.of(id, segments).beside.read([{ file: id, position, bytes: size - position }])

async function* pieces(library: Home['library'], key: string, position: number, size: number): AsyncGenerator<Buffer> {
  const bytes = await library.acquire(key)
  try {
    // The memory of a piece is used again for the next.
    for await (const piece of bytes.range(position, size - 1)) yield Buffer.from(piece)
  } finally {
    bytes.release()
  }
}

/** A part's file goes when its bytes are in the whole: what is left of the files says where each part is. */
async function readParts({ db, staging }: Home, row: UploadRow): Promise<StagedBytes['from']> {
  const stretches: Stretch[] = []
  let end = 0
  for (const partId of partIdsOf(row)) {
    const bytes = (await uploadById(db, partId))?.offset ?? 0
    const isApart = (await staging.of(partId).size()) !== undefined
    stretches.push(isApart ? { file: partId, position: 0, bytes } : { file: row.id, position: end, bytes })
    end += bytes
  }
  const beside = staging.of(row.id).beside
  return (position) => {
    let skipped = 0
    return beside.read(
      stretches.map(({ file, position: at, bytes }) => {
        const skip = Math.min(bytes, Math.max(0, position - skipped))
        skipped += bytes
        return { file, position: at + skip, bytes: bytes - skip }
      }),
    )
  }
}

/** The SHA-256 (hex) of the bytes from the first to the last. @throws when fewer are there than were told */
export async function sha256OfStaged({ size, from }: StagedBytes): Promise<string> {
  const hash = createHash('sha256')
  let came = 0
  for await (const piece of from(0)) {
    hash.update(piece)
    came += piece.length
  }
  if (came !== size) throw new Error(`only ${came} of ${size} bytes are there`)
  return hash.digest('hex')
}

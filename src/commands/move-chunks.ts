/**
 * The part of a move that is chunks of the legacy door, of uploads that are not sealed: each waits by itself at the target, and
 * goes to its place there as one that came early does.
 */
import { chunkRow, chunkRows, nowBeside } from '../db/chunks.ts'
import { uploadCopied } from '../db/copying.ts'
import type { ChunkRow, UploadRow } from '../db/schema.ts'
import type { Staged, Stretch } from '../storage/staging.ts'
import { stretchOf } from '../uploads/ledger.ts'
import { isSame, type Move, named } from './both-ends.ts'
import type { Source } from './homes.ts'

/** Whether its bytes are chunks still, by rows of their own. */
export const isOfChunks = ({ door, state, length }: UploadRow): boolean =>
  door === 'legacy' && state === 'receiving' && length === null

/** @returns whether anything was to be written */
export async function moveChunks(move: Move, row: UploadRow, there: UploadRow | undefined): Promise<boolean> {
  const { source, target, write } = move
  const { id } = row
  // What of it stands in place is the target's own matter.
  const copied = { ...row, offset: there?.offset ?? 0 }
  let isChanged = !isSame(copied, there)
  if (isChanged) await write?.(...(await named(move, row)), ...uploadCopied(copied))
  const chunks = chunksOf(source, id)
  const staged = target.staging.of(id)
  for await (const { index, size, bytes } of chunks) {
    const known = there && (await chunkRow(target.db, id, index))
    const content = await bytes()
    if (known && (await isHeld(staged, known, content))) continue
    isChanged = true
    if (!write) return true
    const file = await staged.beside.keep(index, content)
    await write(nowBeside({ uploadId: id, index, size, file }))
    if (known?.file) await staged.beside.remove(known.file)
    move.progress.advance(size)
  }
  return isChanged
}

const isHeld = (staged: Staged, known: ChunkRow, content: Buffer): Promise<boolean> =>
  staged.beside.holds(stretchOf(staged.id, known), content).catch((error) => {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    return false
  })

interface Chunk {
  index: number
  size: number
  bytes(): Promise<Buffer>
}

async function* chunksOf({ db, staging }: Source, id: string): AsyncGenerator<Chunk> {
  const { beside } = staging.of(id)
  const first = await chunkRow(db, id, 0)
  // A server has ended while it put all of them together anew: they are in one file, in order.
  const composed = first?.file && beside.isWhole(first.file) ? first.file : undefined
  let position = 0
  for await (const rows of chunkRows(db, id)) {
    for (const row of rows) {
      const at = position
      const stretch = () => composedAt(composed, at, row) ?? stretchOf(id, row)
      const bytes = async () =>
        gathered(beside.read([stretch()])).catch((error) => {
          // Its name is the upload's own by now.
          if (composed === undefined || error.code !== 'ENOENT') throw error
          return gathered(beside.read([{ ...stretch(), file: id }]))
        })
      yield { index: row.index, size: row.size, bytes }
      position += row.size
    }
  }
}

const composedAt = (file: string | undefined, position: number, { size }: ChunkRow): Stretch | undefined =>
  file === undefined ? undefined : { file, position, bytes: size }

async function gathered(pieces: AsyncIterable<Buffer>): Promise<Buffer> {
  const all: Buffer[] = []
  for await (const piece of pieces) all.push(Buffer.from(piece))
  return Buffer.concat(all)
}

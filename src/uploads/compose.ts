/**
 * The whole of an upload of chunks put together anew, with those that replaced others in their places.
 *
 * The new file is complete before the table says that it counts, and the table says so before it takes the old one's
 * name: a process that finds it so goes on. It is the row of chunk 0 that says so, for all: of the others, each still
 * tells where its chunk was. The caller owns the upload.
 */
import { chunkRow, chunkRows, nowBeside, nowInPlace, sumsOf } from '../db/chunks.ts'
import type { ChunkRow } from '../db/schema.ts'
import { moveOffset } from './append.ts'
import type { Core } from './core.ts'
import { stretchesOf } from './ledger.ts'
import type { Owned } from './ownership.ts'

/** @param bytes of all chunks */
export async function compose(core: Core, owned: Owned, bytes: number): Promise<void> {
  const { db, space, step } = core
  const { id, offset } = owned.row
  const claim = `${id}.whole`
  await space.reserve({ id: claim, length: bytes, offset: 0 })
  try {
    const file = await owned.staged.beside.compose(stretchesOf(db, id))
    step('composed')
    const { size } = (await chunkRow(db, id, 0)) as ChunkRow
    await moveOffset(core, owned, Math.min(offset, bytes), [nowBeside({ uploadId: id, index: 0, size, file })])
    owned.ledger = undefined
    step('composed-recorded')
    await settleComposed(core, owned)
  } finally {
    space.release(claim)
  }
}

/**
 * Goes on where `compose` was when the table had learnt of its file. A chunk's place follows from the sizes of those
 * before it, so it can begin again at any point; the row of chunk 0 comes last, since it says that there is more to do.
 */
export async function settleComposed(core: Core, owned: Owned): Promise<void> {
  const { db, step } = core
  const { staged } = owned
  const { id } = owned.row
  const first = await chunkRow(db, id, 0)
  if (!first?.file || !staged.beside.isWhole(first.file)) return
  const { bytes } = await sumsOf(db, id)
  const became = await staged.beside.become(first.file)
  if (!became && (await staged.size()) !== bytes) {
    throw new Error(`neither ${first.file} nor what it became is there`)
  }
  step('became')
  let position = first.size
  for await (const rows of chunkRows(db, id, 1)) {
    const moved: { index: number; position: number }[] = []
    for (const row of rows) {
      if (row.file !== null || row.position !== position) moved.push({ index: row.index, position })
      position += row.size
    }
    if (moved.length > 0) await db.write(...moved.map((each) => nowInPlace({ uploadId: id, ...each })))
    step('composed-batch')
  }
  await moveOffset(core, owned, position, [nowInPlace({ uploadId: id, index: 0, position: 0 })])
  // All chunks stand in the upload's file now.
  await staged.beside.clear()
}

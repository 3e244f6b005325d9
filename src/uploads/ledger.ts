/**
 * What the table says of an upload's chunks, as much as each request needs; no more for many chunks than for few.
 */
import { type ChunkSums, chunkRow, chunkRows, sumsOf } from '../db/chunks.ts'
import type { Reading } from '../db/database.ts'
import type { ChunkRow } from '../db/schema.ts'
import type { Stretch } from '../storage/staging.ts'

/** Early chunks moved in one go: one sync and one commit for them all. */
const MOVE_BYTES = 32 * 1024 * 1024
const MOVE_CHUNKS = 256

export interface Ledger extends Omit<ChunkSums, 'placed'> {
  /** Chunks 0 to `next - 1` stand in the upload's file. */
  next: number
  /** Chunks beyond `next`, or at it, which wait. */
  early: number
}

export async function readLedger(db: Reading, id: string): Promise<Ledger> {
  const { placed, ...sums } = await sumsOf(db, id)
  return { ...sums, next: placed, early: sums.received - placed }
}

/** Where a chunk is. */
export const stretchOf = (id: string, row: ChunkRow): Stretch =>
  row.file === null
    ? { file: id, position: row.position as number, bytes: row.size }
    : { file: row.file, position: 0, bytes: row.size }

/** Where all chunks are, in order; those that stand side by side are one. */
export async function* stretchesOf(db: Reading, id: string): AsyncGenerator<Stretch> {
  let last: Stretch | undefined
  for await (const rows of chunkRows(db, id)) {
    for (const row of rows) {
      const next = stretchOf(id, row)
      if (last?.file === next.file && last.position + last.bytes === next.position) last.bytes += next.bytes
      else {
        if (last) yield last
        last = next
      }
    }
  }
  if (last) yield last
}

/** Bytes of the chunks from the first on of which none is missing. */
export async function bytesInOrder(db: Reading, id: string): Promise<number> {
  let bytes = 0
  let next = 0
  for await (const rows of chunkRows(db, id)) {
    for (const { index, size } of rows) {
      if (index !== next) return bytes
      bytes += size
      next++
    }
  }
  return bytes
}

/** Indices below `total` of which no chunk has come. */
export async function missingOf(db: Reading, id: string, ledger: Ledger, total: number): Promise<number[]> {
  const indices: number[] = []
  let next = ledger.next
  const skipTo = (index: number) => {
    for (; next < index; next++) indices.push(next)
    next = index + 1
  }
  if (ledger.early > 0) for await (const rows of chunkRows(db, id, next)) for (const { index } of rows) skipTo(index)
  skipTo(total)
  return indices
}

/** Early chunks from the next one on, as many as are moved in one go; none when it is missing. */
export async function inTurn(
  db: Reading,
  id: string,
  next: number,
): Promise<{ index: number; size: number; file: string }[]> {
  const turn: { index: number; size: number; file: string }[] = []
  if (!(await chunkRow(db, id, next))) return turn
  let bytes = 0
  for await (const rows of chunkRows(db, id, next)) {
    for (const { index, size, file } of rows) {
      const isEnough = turn.length === MOVE_CHUNKS || (turn.length > 0 && bytes + size > MOVE_BYTES)
      if (file === null || index !== next + turn.length || isEnough) return turn
      turn.push({ index, size, file })
      bytes += size
    }
  }
  return turn
}

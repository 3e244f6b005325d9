/**
 * Chunks by index, in any order, onto an upload that knows only one place to write: its end.
 *
 * The next chunk in order goes straight to its place, once. What comes early waits in a file beside the upload, and is
 * moved as soon as its turn has come. A chunk that replaces another waits beside it too, so that bytes once acknowledged
 * are never written over; the whole is put together anew when it is finished. The table says at every moment which bytes
 * count, and each answer follows a commit: a crash between any two steps loses nothing that was acknowledged.
 */
import { Readable } from 'node:stream'
import {
  type ChunkSums,
  chunkRow,
  chunkRows,
  dropChunks,
  dropStep,
  newInPlace,
  nowBeside,
  nowInPlace,
  STEP_ROWS,
  sumsOf,
} from '../db/chunks.ts'
import type { Database } from '../db/database.ts'
import type { ChunkRow } from '../db/schema.ts'
import { ServiceError } from '../errors.ts'
import type { Space } from '../storage/space.ts'
import type { Beside, Stretch } from '../storage/staging.ts'
import type { Finished } from './finish.ts'
import type { Ingest } from './ingest.ts'
import type { UploadLocker } from './locker.ts'
import { isOpen } from './upload.ts'

/** An upload has chunks 0 to 99,999. */
export const MAX_CHUNKS = 100_000
/** Early chunks moved in one go: one sync and one commit for them all. */
const MOVE_BYTES = 32 * 1024 * 1024
const MOVE_CHUNKS = 256
/** Uploads whose chunks are known without asking the table. */
const LEDGERS = 2_000

/** What the table says of an upload's chunks, as much as each request needs; no more for many chunks than for few. */
interface Ledger extends Omit<ChunkSums, 'placed'> {
  /** Chunks 0 to `next - 1` stand in the upload's file. */
  next: number
  /** Chunks beyond `next`, or at it, which wait. */
  early: number
}

export interface Received {
  chunks: number
  bytes: number
}

interface Parts {
  db: Database
  ingest: Ingest
  locker: UploadLocker
  space: Space
  maxBytes: number
}

export class LegacyChunks {
  readonly #parts: Parts
  readonly #ledgers = new Map<string, Ledger>()

  constructor(parts: Parts) {
    this.#parts = parts
  }

  async #besideOf(id: string): Promise<Beside> {
    return (await this.#parts.ingest.stagedOf(id)).beside
  }

  async #ledgerOf(id: string): Promise<Ledger> {
    const known = this.#ledgers.get(id)
    if (known) return known
    await this.#settleComposed(id)
    const { placed, ...sums } = await sumsOf(this.#parts.db, id)
    const ledger: Ledger = { ...sums, next: placed, early: sums.received - placed }
    this.#ledgers.set(id, ledger)
    if (this.#ledgers.size > LEDGERS) {
      for (const oldest of this.#ledgers.keys()) {
        this.#ledgers.delete(oldest)
        break
      }
    }
    return ledger
  }

  /** @throws ServiceError `upload_closed` once nothing can be added; 410 for an expired one */
  async #assertTakesChunks(id: string): Promise<void> {
    const row = await this.#parts.ingest.find(id)
    if (row.state !== 'expired' && (row.state !== 'receiving' || row.length !== null)) throw closed()
    this.#parts.ingest.assertAlive(row)
  }

  /** Where all chunks are, in order; those that stand side by side are one. */
  async *#stretchesOf(id: string): AsyncGenerator<Stretch> {
    let last: Stretch | undefined
    for await (const rows of chunkRows(this.#parts.db, id)) {
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

  async #placeNext(id: string, ledger: Ledger, index: number, bytes: Buffer): Promise<void> {
    const size = bytes.length
    await this.#parts.ingest.appendWhole(id, bytes, (position) => [newInPlace({ uploadId: id, index, size, position })])
    ledger.next++
    ledger.received++
    ledger.bytes += size
    ledger.highest = Math.max(ledger.highest, index)
  }

  async #keepBeside(id: string, ledger: Ledger, index: number, bytes: Buffer, old?: ChunkRow): Promise<void> {
    const beside = await this.#besideOf(id)
    const size = bytes.length
    const claim = `${id}.beside`
    await this.#parts.space.reserve({ id: claim, length: size, offset: 0 })
    try {
      const file = await beside.keep(index, bytes)
      try {
        await this.#parts.ingest.hearOf(id, [nowBeside({ uploadId: id, index, size, file })])
      } catch (error) {
        await beside.remove(file)
        throw error
      }
      if (!old) ledger.early++
      else if (old.position !== null && old.file === null) ledger.replaced++
    } finally {
      this.#parts.space.release(claim)
    }
    if (old?.file) await beside.remove(old.file)
    if (!old) ledger.received++
    ledger.bytes += size - (old?.size ?? 0)
    ledger.highest = Math.max(ledger.highest, index)
  }

  /** Indices below `total` of which no chunk has come. */
  async #missing(id: string, ledger: Ledger, total: number): Promise<number[]> {
    const indices: number[] = []
    let next = ledger.next
    const skipTo = (index: number) => {
      for (; next < index; next++) indices.push(next)
      next = index + 1
    }
    if (ledger.early > 0)
      for await (const rows of chunkRows(this.#parts.db, id, next)) for (const { index } of rows) skipTo(index)
    skipTo(total)
    return indices
  }

  /** Early chunks from the next one on, as many as are moved in one go; none when it is missing. */
  async #inTurn(id: string, next: number): Promise<{ index: number; size: number; file: string }[]> {
    const turn: { index: number; size: number; file: string }[] = []
    if (!(await chunkRow(this.#parts.db, id, next))) return turn
    let bytes = 0
    for await (const rows of chunkRows(this.#parts.db, id, next)) {
      for (const { index, size, file } of rows) {
        const isEnough = turn.length === MOVE_CHUNKS || (turn.length > 0 && bytes + size > MOVE_BYTES)
        if (file === null || index !== next + turn.length || isEnough) return turn
        turn.push({ index, size, file })
        bytes += size
      }
    }
    return turn
  }

  /** Moves early chunks whose turn has come, until the next is missing or `enough`. */
  async #moveEarly(id: string, ledger: Ledger, enough: () => boolean): Promise<void> {
    const beside = await this.#besideOf(id)
    while (ledger.early > 0 && !enough()) {
      const moved = await this.#inTurn(id, ledger.next)
      if (moved.length === 0) return
      const stretches = moved.map(({ file, size }) => ({ file, position: 0, bytes: size }))
      const bytes = moved.reduce((sum, { size }) => sum + size, 0)
      const stream = Readable.from(beside.read(stretches), { objectMode: false, highWaterMark: 256 * 1024 })
      await this.#parts.ingest.appendWhole(id, { bytes, stream }, (start) => {
        let position = start
        return moved.map(({ index, size }) => {
          const statement = nowInPlace({ uploadId: id, index, position })
          position += size
          return statement
        })
      })
      this.#parts.ingest.step('early-batch')
      ledger.next += moved.length
      ledger.early -= moved.length
      for (const { file } of moved) await beside.remove(file)
    }
  }

  /**
   * Puts the whole together anew, with the chunks that replaced others in their places. The new file is complete before
   * the table says that it counts, and the table says so before it takes the old one's name: whoever finds it so goes on.
   *
   * It is the row of chunk 0 that says so, for all: of the others, each still tells where its chunk was.
   */
  async #compose(id: string, bytes: number): Promise<void> {
    const claim = `${id}.whole`
    await this.#parts.space.reserve({ id: claim, length: bytes, offset: 0 })
    try {
      const file = await (await this.#besideOf(id)).compose(this.#stretchesOf(id))
      this.#parts.ingest.step('composed')
      const { offset } = await this.#parts.ingest.find(id)
      const { size } = (await chunkRow(this.#parts.db, id, 0)) as ChunkRow
      await this.#parts.ingest.moveOffset(id, Math.min(offset, bytes), [
        nowBeside({ uploadId: id, index: 0, size, file }),
      ])
      this.#ledgers.delete(id)
      this.#parts.ingest.step('composed-recorded')
      await this.#settleComposed(id)
    } finally {
      this.#parts.space.release(claim)
    }
  }

  /**
   * Goes on where `compose` was when the table had learnt of its file. A chunk's place follows from the sizes of those
   * before it, so it can begin again at any point; the row of chunk 0 comes last, since it says that there is more to do.
   */
  async #settleComposed(id: string): Promise<void> {
    const first = await chunkRow(this.#parts.db, id, 0)
    const staged = await this.#parts.ingest.stagedOf(id)
    const { beside } = staged
    if (!first?.file || !beside.isWhole(first.file)) return
    const { bytes } = await sumsOf(this.#parts.db, id)
    const became = await beside.become(first.file)
    if (!became && (await staged.size()) !== bytes) {
      throw new Error(`neither ${first.file} nor what it became is there`)
    }
    this.#parts.ingest.step('became')
    let position = first.size
    for await (const rows of chunkRows(this.#parts.db, id, 1)) {
      const moved: { index: number; position: number }[] = []
      for (const row of rows) {
        if (row.file !== null || row.position !== position) moved.push({ index: row.index, position })
        position += row.size
      }
      if (moved.length > 0) await this.#parts.db.write(...moved.map((each) => nowInPlace({ uploadId: id, ...each })))
      this.#parts.ingest.step('composed-batch')
    }
    await this.#parts.ingest.moveOffset(id, position, [nowInPlace({ uploadId: id, index: 0, position: 0 })])
    // All chunks stand in the upload's file now.
    await beside.clear()
  }

  /** The caller holds the upload's lock. */
  async #seal(id: string, total: number, callLogId: string): Promise<void> {
    const row = await this.#parts.ingest.find(id)
    if (row.recordingId !== null || (isOpen(row) && row.length !== null)) {
      if (row.callLogId !== callLogId) throw callLogMismatch()
      return
    }
    await this.#assertTakesChunks(id)
    const ledger = await this.#ledgerOf(id)
    if (total <= ledger.highest) {
      throw new ServiceError(
        'invalid_parameter',
        `The parameter total_chunks must be above ${ledger.highest}, the highest index received.`,
      )
    }
    if (ledger.received < total) throw incomplete(await this.#missing(id, ledger, total))
    try {
      await this.#moveEarly(id, ledger, () => false)
      this.#parts.ingest.step('early-moved')
      if (ledger.replaced > 0) await this.#compose(id, ledger.bytes)
      await this.#parts.ingest.seal(id, {
        length: ledger.bytes,
        callLogId,
        also: [dropStep(id)],
      })
    } catch (error) {
      this.#ledgers.delete(id)
      throw error
    }
    this.#parts.ingest.step('sealed')
    this.#ledgers.delete(id)
    if (ledger.received > STEP_ROWS) await dropChunks(this.#parts.db, id)
    await (await this.#besideOf(id)).clear()
  }

  /**
   * Takes one chunk; when it resolves, the chunk is on disk and counted.
   *
   * @param signal ends the wait for the upload's turn
   * @throws ServiceError `upload_closed`, `too_large`, `upload_locked`, `insufficient_storage` …; nothing is stored then
   */
  put(id: string, index: number, bytes: Buffer, signal: AbortSignal): Promise<Received> {
    return this.#parts.locker.holdShortly(id, signal, async () => {
      await this.#assertTakesChunks(id)
      const ledger = await this.#ledgerOf(id)
      // A client that sends in order asks the table nothing.
      const known = index < ledger.next || ledger.early > 0
      const size = known ? ((await chunkRow(this.#parts.db, id, index))?.size ?? 0) : 0
      if (ledger.bytes + bytes.length - size > this.#parts.maxBytes) {
        throw new ServiceError('too_large', `An upload may have ${this.#parts.maxBytes} bytes at most.`)
      }
      try {
        // What was put off while others waited: this one may be next then.
        let batches = 0
        await this.#moveEarly(id, ledger, () => batches++ > 0)
        const old = known ? await chunkRow(this.#parts.db, id, index) : undefined
        if (old && (await (await this.#besideOf(id)).holds(stretchOf(id, old), bytes))) {
          // A lost answer: the chunk is there.
        } else if (!old && index === ledger.next) await this.#placeNext(id, ledger, index, bytes)
        else await this.#keepBeside(id, ledger, index, bytes, old)
        this.#parts.ingest.step('chunk-stored')
        const received = { chunks: ledger.received, bytes: ledger.bytes }
        // Others wait: they, or the finish, go on with it.
        await this.#moveEarly(id, ledger, () => this.#parts.locker.isWanted(id)).catch(() => this.#ledgers.delete(id))
        return received
      } catch (error) {
        this.#ledgers.delete(id)
        throw error
      }
    })
  }

  /**
   * Makes of the chunks one whole, and of that its recording. Once finished it gives the same again.
   *
   * @throws ServiceError `incomplete_upload` with `missing_chunks`, `invalid_parameter` when more came than `total`,
   *   `call_log_mismatch`, `upload_closed` when it was cancelled; as `finish` does
   */
  async finalize(id: string, total: number, callLogId: string, signal: AbortSignal): Promise<Finished> {
    const { finished } = await this.#parts.locker.holdShortly(id, signal, async () => {
      await this.#seal(id, total, callLogId)
      // Begun while the upload is ours, so that no cancel comes between; awaited when it is anybody's again.
      const finished = this.#parts.ingest.finish(id)
      finished.catch(() => {})
      return { finished }
    })
    return finished
  }

  /** Ends an upload; its bytes go. Once ended it stays so. @throws ServiceError `upload_closed` once it is sealed */
  cancel(id: string, signal: AbortSignal): Promise<void> {
    return this.#parts.locker.holdShortly(id, signal, async () => {
      const { state, recordingId } = await this.#parts.ingest.find(id)
      if (recordingId !== null) throw closed()
      if (state === 'terminated') return
      this.#ledgers.delete(id)
      await this.#parts.ingest.cancel(id)
    })
  }
}

const stretchOf = (id: string, row: ChunkRow): Stretch =>
  row.file === null
    ? { file: id, position: row.position as number, bytes: row.size }
    : { file: row.file, position: 0, bytes: row.size }

function incomplete(missing: number[]): ServiceError {
  const count = missing.length === 1 ? '1 chunk is' : `${missing.length} chunks are`
  return new ServiceError('incomplete_upload', `${count} missing; append them and finalize again.`, {
    members: { missing_chunks: missing },
  })
}

const closed = () => new ServiceError('upload_closed', 'This upload takes no more chunks.')

export const callLogMismatch = () =>
  new ServiceError('call_log_mismatch', 'The upload was begun for another call_log_id.')

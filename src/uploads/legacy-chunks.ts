/**
 * Chunks by index, in any order, onto an upload that knows only one place to write: its end.
 *
 * The next chunk in order goes straight to its place, once. What comes early waits in a file beside the upload, and is
 * moved as soon as its turn has come. A chunk that replaces another waits beside it too, so that bytes once acknowledged
 * are never written over; the whole is put together anew when it is finished. The table says at every moment which bytes
 * count, and each answer follows a commit: a crash between any two steps loses nothing that was acknowledged.
 */
import { Readable } from 'node:stream'
import { and, asc, eq, isNotNull, sql } from 'drizzle-orm'
import { bind, type Database } from '../db/database.ts'
import { type ChunkRow, chunks } from '../db/schema.ts'
import { ServiceError } from '../errors.ts'
import { createBeside, type Stretch } from '../storage/disk/beside.ts'
import type { Space } from '../storage/space.ts'
import type { Finished } from './finishing.ts'
import type { Ingest } from './ingest.ts'
import type { UploadLocker } from './locker.ts'
import { isOpen } from './upload.ts'

/** An upload has chunks 0 to 99,999. */
export const MAX_CHUNKS = 100_000
/** Early chunks moved in one go: one sync and one commit for them all. */
const MOVE_BYTES = 32 * 1024 * 1024
/** Uploads whose chunks are known without asking the table. */
const LEDGERS = 2_000

/** What the table says of an upload's chunks, as much as each request needs. */
interface Ledger {
  /** Chunks 0 to `next - 1` stand in the upload's file. */
  next: number
  received: number
  /** Of all chunks, those that wait among them. */
  bytes: number
  highest: number
  /** Chunks from `next` on, which wait. */
  early: Map<number, { size: number; file: string }>
  /** Chunks in place for which another one waits. */
  replaced: number
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

export type LegacyChunks = ReturnType<typeof createLegacyChunks>

export function createLegacyChunks({ db, ingest, locker, space, maxBytes }: Parts) {
  const beside = createBeside(ingest.staging)
  const ledgers = new Map<string, Ledger>()

  const insertPlaced = db.orm
    .insert(chunks)
    .values({
      uploadId: sql.placeholder('uploadId'),
      index: sql.placeholder('index'),
      size: sql.placeholder('size'),
      position: sql.placeholder('position'),
    })
    .prepare()
  const ofUpload = (id: string) => eq(chunks.uploadId, id)

  const rowsOf = async (id: string): Promise<ChunkRow[]> =>
    await db.orm.select().from(chunks).where(ofUpload(id)).orderBy(asc(chunks.index)).all()

  async function readLedger(id: string): Promise<Ledger> {
    const sums = await db.orm
      .select({
        received: sql<number>`count(*)`,
        bytes: sql<number>`coalesce(sum(${chunks.size}), 0)`,
        highest: sql<number>`coalesce(max(${chunks.index}), -1)`,
        next: sql<number>`count(${chunks.position})`,
      })
      .from(chunks)
      .where(ofUpload(id))
      .get()
    const ledger: Ledger = {
      next: sums?.next ?? 0,
      received: sums?.received ?? 0,
      bytes: sums?.bytes ?? 0,
      highest: sums?.highest ?? -1,
      early: new Map(),
      replaced: 0,
    }
    const apart = await db.orm
      .select()
      .from(chunks)
      .where(and(ofUpload(id), isNotNull(chunks.file)))
      .all()
    for (const { index, size, file, position } of apart) {
      if (position !== null) ledger.replaced++
      else if (file !== null) ledger.early.set(index, { size, file })
    }
    return ledger
  }

  async function ledgerOf(id: string): Promise<Ledger> {
    const known = ledgers.get(id)
    if (known) return known
    await settleComposed(id)
    const ledger = await readLedger(id)
    ledgers.set(id, ledger)
    if (ledgers.size > LEDGERS) {
      for (const oldest of ledgers.keys()) {
        ledgers.delete(oldest)
        break
      }
    }
    return ledger
  }

  /** @throws ServiceError `upload_closed` once nothing can be added; 410 for an expired one */
  async function assertTakesChunks(id: string): Promise<void> {
    const row = await ingest.find(id)
    if (row.state !== 'expired' && (row.state !== 'receiving' || row.length !== null)) throw closed()
    ingest.assertAlive(row)
  }

  const chunkRow = async (id: string, index: number): Promise<ChunkRow | undefined> =>
    await db.orm
      .select()
      .from(chunks)
      .where(and(ofUpload(id), eq(chunks.index, index)))
      .get()

  const stretchOf = (id: string, row: ChunkRow): Stretch =>
    row.file === null
      ? { file: id, position: row.position as number, bytes: row.size }
      : { file: row.file, position: 0, bytes: row.size }

  async function placeNext(id: string, ledger: Ledger, index: number, bytes: Buffer): Promise<void> {
    const size = bytes.length
    await ingest.place(id, bytes, (position) => [bind(insertPlaced, { uploadId: id, index, size, position })])
    ledger.next++
    ledger.received++
    ledger.bytes += size
    ledger.highest = Math.max(ledger.highest, index)
  }

  async function keepBeside(id: string, ledger: Ledger, index: number, bytes: Buffer, old?: ChunkRow): Promise<void> {
    const size = bytes.length
    const claim = `${id}.beside`
    await space.reserve({ id: claim, length: size, offset: 0 })
    try {
      const file = await beside.keep(id, index, bytes)
      try {
        await ingest.kept(id, [
          db.orm
            .insert(chunks)
            .values({ uploadId: id, index, size, file })
            .onConflictDoUpdate({ target: [chunks.uploadId, chunks.index], set: { size, file } }),
        ])
      } catch (error) {
        await beside.remove(file)
        throw error
      }
      if (old?.position == null) ledger.early.set(index, { size, file })
      else if (old.file === null) ledger.replaced++
    } finally {
      space.release(claim)
    }
    if (old?.file) await beside.remove(old.file)
    if (!old) ledger.received++
    ledger.bytes += size - (old?.size ?? 0)
    ledger.highest = Math.max(ledger.highest, index)
  }

  /** Moves early chunks whose turn has come, until the next is missing or `enough`. */
  async function moveEarly(id: string, ledger: Ledger, enough: () => boolean): Promise<void> {
    while (ledger.early.has(ledger.next) && !enough()) {
      const moved: { index: number; size: number; file: string }[] = []
      let bytes = 0
      for (let index = ledger.next; ; index++) {
        const chunk = ledger.early.get(index)
        if (!chunk || (moved.length > 0 && bytes + chunk.size > MOVE_BYTES)) break
        moved.push({ index, ...chunk })
        bytes += chunk.size
      }
      const stretches = moved.map(({ file, size }) => ({ file, position: 0, bytes: size }))
      const stream = Readable.from(beside.read(stretches), { objectMode: false, highWaterMark: 256 * 1024 })
      await ingest.place(id, { bytes, stream }, (start) => {
        let position = start
        return moved.map(({ index, size }) => {
          const set = { position, file: null }
          position += size
          return db.orm
            .update(chunks)
            .set(set)
            .where(and(ofUpload(id), eq(chunks.index, index)))
        })
      })
      ledger.next += moved.length
      for (const { index, file } of moved) {
        ledger.early.delete(index)
        await beside.remove(file)
      }
    }
  }

  /**
   * Puts the whole together anew, with the chunks that replaced others in their places. The new file is complete before
   * the table says that it counts, and the table says so before it takes the old one's name: whoever finds it so goes on.
   */
  async function compose(id: string): Promise<void> {
    const rows = await rowsOf(id)
    const bytes = rows.reduce((sum, row) => sum + row.size, 0)
    const claim = `${id}.whole`
    await space.reserve({ id: claim, length: bytes, offset: 0 })
    try {
      const file = await beside.compose(
        id,
        rows.map((row) => stretchOf(id, row)),
      )
      ingest.step('composed')
      const { offset } = await ingest.find(id)
      await ingest.relay(id, Math.min(offset, bytes), [db.orm.update(chunks).set({ file }).where(ofUpload(id))])
      ledgers.delete(id)
      ingest.step('composed-recorded')
      await settleComposed(id)
      for (const row of rows) if (row.file !== null) await beside.remove(row.file)
    } finally {
      space.release(claim)
    }
  }

  /** Goes on where `compose` was when the table had learnt of its file. */
  async function settleComposed(id: string): Promise<void> {
    const first = await chunkRow(id, 0)
    if (!first?.file || !beside.isWhole(first.file)) return
    const rows = await rowsOf(id)
    const bytes = rows.reduce((sum, row) => sum + row.size, 0)
    const became = await beside.become(id, first.file)
    if (!became && (await ingest.staging.sizeOf(id)) !== bytes) {
      throw new Error(`neither ${first.file} nor what it became is there`)
    }
    ingest.step('became')
    let position = 0
    const places = rows.map((row) => {
      const set = { position, file: null }
      position += row.size
      return db.orm
        .update(chunks)
        .set(set)
        .where(and(ofUpload(id), eq(chunks.index, row.index)))
    })
    await ingest.relay(id, position, places)
  }

  /** The caller holds the upload's lock. */
  async function seal(id: string, total: number, callLogId: string): Promise<void> {
    const row = await ingest.find(id)
    if (row.state === 'finished' || (isOpen(row) && row.length !== null)) {
      if (row.callLogId !== callLogId) throw callLogMismatch()
      return
    }
    await assertTakesChunks(id)
    const ledger = await ledgerOf(id)
    if (total <= ledger.highest) {
      throw new ServiceError(
        'invalid_parameter',
        `The parameter total_chunks must be above ${ledger.highest}, the highest index received.`,
      )
    }
    if (ledger.received < total) throw incomplete(ledger, total)
    try {
      await moveEarly(id, ledger, () => false)
      ingest.step('early-moved')
      if (ledger.replaced > 0) await compose(id)
      await ingest.seal(id, {
        length: ledger.bytes,
        callLogId,
        also: [db.orm.delete(chunks).where(ofUpload(id))],
      })
    } catch (error) {
      ledgers.delete(id)
      throw error
    }
    ingest.step('sealed')
    ledgers.delete(id)
    await beside.clear(id)
  }

  return {
    /**
     * Takes one chunk; when it resolves, the chunk is on disk and counted.
     *
     * @param signal ends the wait for the upload's turn
     * @throws ServiceError `upload_closed`, `too_large`, `upload_locked`, `insufficient_storage` …; nothing is stored then
     */
    put(id: string, index: number, bytes: Buffer, signal: AbortSignal): Promise<Received> {
      return locker.holdShortly(id, signal, async () => {
        await assertTakesChunks(id)
        const ledger = await ledgerOf(id)
        const known = index < ledger.next || ledger.early.has(index)
        const size = known ? ((await chunkRow(id, index))?.size ?? 0) : 0
        if (ledger.bytes + bytes.length - size > maxBytes) {
          throw new ServiceError('too_large', `An upload may have ${maxBytes} bytes at most.`)
        }
        try {
          // What was put off while others waited: this one may be next then.
          let batches = 0
          await moveEarly(id, ledger, () => batches++ > 0)
          const old = known ? await chunkRow(id, index) : undefined
          if (old && (await beside.holds(stretchOf(id, old), bytes))) {
            // A lost answer: the chunk is there.
          } else if (!old && index === ledger.next) await placeNext(id, ledger, index, bytes)
          else await keepBeside(id, ledger, index, bytes, old)
          ingest.step('chunk-stored')
          const received = { chunks: ledger.received, bytes: ledger.bytes }
          // Others wait: they, or the finish, go on with it.
          await moveEarly(id, ledger, () => locker.isWanted(id)).catch(() => ledgers.delete(id))
          return received
        } catch (error) {
          ledgers.delete(id)
          throw error
        }
      })
    },

    /**
     * Makes of the chunks one whole, and of that its recording. Once finished it gives the same again.
     *
     * @throws ServiceError `incomplete_upload` with `missing_chunks`, `invalid_parameter` when more came than `total`,
     *   `call_log_mismatch`, `upload_closed` when it was cancelled; as `finish` does
     */
    async finalize(id: string, total: number, callLogId: string, signal: AbortSignal): Promise<Finished> {
      const { finished } = await locker.holdShortly(id, signal, async () => {
        await seal(id, total, callLogId)
        // Begun while the upload is ours, so that no cancel comes between; awaited when it is anybody's again.
        const finished = ingest.finish(id)
        finished.catch(() => {})
        return { finished }
      })
      return finished
    },

    /** Ends an upload; its bytes go. Once ended it stays so. @throws ServiceError `upload_closed` once it is sealed */
    cancel(id: string, signal: AbortSignal): Promise<void> {
      return locker.holdShortly(id, signal, async () => {
        if ((await ingest.find(id)).state === 'terminated') return
        ledgers.delete(id)
        await ingest.cancel(id)
      })
    },
  }
}

function incomplete(ledger: Ledger, total: number): ServiceError {
  const missing: number[] = []
  for (let index = ledger.next; index < total; index++) if (!ledger.early.has(index)) missing.push(index)
  const count = missing.length === 1 ? '1 chunk is' : `${missing.length} chunks are`
  return new ServiceError('incomplete_upload', `${count} missing; append them and finalize again.`, {
    members: { missing_chunks: missing },
  })
}

const closed = () => new ServiceError('upload_closed', 'This upload takes no more chunks.')

export const callLogMismatch = () =>
  new ServiceError('call_log_mismatch', 'The upload was begun for another call_log_id.')

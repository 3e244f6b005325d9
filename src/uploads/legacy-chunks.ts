/**
 * Chunks by index, in any order, onto an upload that knows only one place to write: its end.
 *
 * The next chunk in order goes straight to its place, once. What comes early waits in a file beside the upload, and is
 * moved as soon as its turn has come. A chunk that replaces another waits beside it too, so that bytes once acknowledged
 * are never written over; the whole is put together anew when it is finished. The table says at every moment which bytes
 * count, and each answer follows a commit: a crash between any two steps loses nothing that was acknowledged.
 */
import { Readable } from 'node:stream'
import { chunkRow, dropChunks, dropStep, newInPlace, nowBeside, nowInPlace, STEP_ROWS } from '../db/chunks.ts'
import { must } from '../db/database.ts'
import type { ChunkRow } from '../db/schema.ts'
import { segmentsOfChunks } from '../db/segments.ts'
import { offsetReached, uploadSealed } from '../db/uploads.ts'
import { ServiceError } from '../errors.ts'
import { appendWhole, hearOf } from './append.ts'
import { commit } from './commit.ts'
import { compose, settleComposed } from './compose.ts'
import type { Core } from './core.ts'
import type { Finished } from './finish.ts'
import { inTurn, type Ledger, missingOf, readLedger, stretchOf } from './ledger.ts'
import type { Owned, Row } from './ownership.ts'
import { seal } from './seal.ts'
import { isOpen, keyFor } from './upload.ts'
import { assertAlive } from './usable.ts'

/** An upload has chunks 0 to 99,999. */
export const MAX_CHUNKS = 100_000

export interface Received {
  chunks: number
  bytes: number
}

export class LegacyChunks {
  readonly #core: Core

  constructor(core: Core) {
    this.#core = core
  }

  /**
   * Takes one chunk; when it resolves, the chunk is on disk and counted.
   *
   * @param signal ends the wait for the upload's turn
   * @throws ServiceError `upload_closed`, `too_large`, `upload_locked`, `insufficient_storage` …; nothing is stored then
   */
  put(id: string, index: number, bytes: Buffer, signal: AbortSignal): Promise<Received> {
    const { ownership } = this.#core
    return ownership.holdShortly(id, signal, async () => takeIn(this.#core, await ownership.owned(id), index, bytes))
  }

  /**
   * Makes of the chunks one whole, and of that its recording. Once finished it gives the same again.
   *
   * @param callOf gives the call, as the upload's row has it by then
   * @throws ServiceError `incomplete_upload` with `missing_chunks`, `invalid_parameter` when more came than `total`,
   *   `call_log_mismatch`, `upload_closed` when it was cancelled; as `finish` does
   */
  async finalize(
    id: string,
    total: number,
    callOf: (row: Row) => Promise<string>,
    signal: AbortSignal,
  ): Promise<Finished> {
    const { ownership, finishes } = this.#core
    const { finished } = await ownership.holdShortly(id, signal, async () => {
      const owned = await ownership.owned(id)
      await sealChunks(this.#core, owned, total, await callOf(owned.row))
      // Begun while the upload is held, so that no cancel comes between; awaited when others may have it.
      const finished = finishes.finish(id)
      finished.catch(() => {})
      return { finished }
    })
    return finished
  }

  /** Ends an upload; its bytes go. Once ended it stays so. @throws ServiceError `upload_closed` once it is sealed */
  cancel(id: string, signal: AbortSignal): Promise<void> {
    const { ownership, ends } = this.#core
    return ownership.holdShortly(id, signal, async () => {
      const owned = await ownership.owned(id)
      if (owned.row.recordingId !== null) throw closed()
      if (owned.row.state === 'terminated') return
      owned.ledger = undefined
      await ends.cancel(owned)
    })
  }
}

async function ledgerOf(core: Core, owned: Owned): Promise<Ledger> {
  if (owned.ledger) return owned.ledger
  await settleComposed(core, owned)
  owned.ledger = await readLedger(core.db, owned.row.id)
  return owned.ledger
}

/** @throws ServiceError `upload_closed` once nothing can be added; 410 for an expired one */
function assertTakesChunks(core: Core, { row }: Owned): void {
  if (row.state !== 'expired' && (row.state !== 'receiving' || row.length !== null)) throw closed()
  assertAlive(core, row)
}

async function takeIn(core: Core, owned: Owned, index: number, bytes: Buffer): Promise<Received> {
  const { db, limits, ownership, step } = core
  const { id } = owned.row
  assertTakesChunks(core, owned)
  const ledger = await ledgerOf(core, owned)
  // A client that sends in order asks the table nothing.
  const known = index < ledger.next || ledger.early > 0
  const size = known ? ((await chunkRow(db, id, index))?.size ?? 0) : 0
  if (ledger.bytes + bytes.length - size > limits.maxBytes) {
    throw new ServiceError('too_large', `An upload may have ${limits.maxBytes} bytes at most.`)
  }
  try {
    // What was put off while others waited: this one may be next then.
    let batches = 0
    await moveEarly(core, owned, ledger, () => batches++ > 0)
    const old = known ? await chunkRow(db, id, index) : undefined
    if (old && (await owned.staged.beside.holds(stretchOf(id, old), bytes))) {
      // A lost answer: the chunk is there.
    } else if (!old && index === ledger.next && !core.staging.segmented) {
      await placeNext(core, owned, ledger, index, bytes)
    } else await keepBeside(core, owned, ledger, index, bytes, old)
    step('chunk-stored')
    const received = { chunks: ledger.received, bytes: ledger.bytes }
    // Others wait: they, or the finish, go on with it.
    await moveEarly(core, owned, ledger, () => ownership.isWanted(id)).catch(() => {
      owned.ledger = undefined
    })
    return received
  } catch (error) {
    owned.ledger = undefined
    throw error
  }
}

async function placeNext(core: Core, owned: Owned, ledger: Ledger, index: number, bytes: Buffer): Promise<void> {
  const size = bytes.length
  const uploadId = owned.row.id
  await appendWhole(core, owned, bytes, (position) => [newInPlace({ uploadId, index, size, position })])
  ledger.next++
  ledger.received++
  ledger.bytes += size
  ledger.highest = Math.max(ledger.highest, index)
}

async function keepBeside(
  core: Core,
  owned: Owned,
  ledger: Ledger,
  index: number,
  bytes: Buffer,
  old?: ChunkRow,
): Promise<void> {
  const { space } = core
  const { id } = owned.row
  const { beside } = owned.staged
  const size = bytes.length
  const claim = `${id}.beside`
  await space.reserve({ id: claim, length: size, offset: 0 })
  try {
    const file = await beside.keep(index, bytes)
    try {
      await hearOf(core, owned, [nowBeside({ uploadId: id, index, size, file })])
    } catch (error) {
      await beside.remove(file)
      throw error
    }
    if (!old) ledger.early++
    else if (old.position !== null && old.file === null) ledger.replaced++
  } finally {
    space.release(claim)
  }
  if (old?.file) await beside.remove(old.file)
  if (!old) ledger.received++
  ledger.bytes += size - (old?.size ?? 0)
  ledger.highest = Math.max(ledger.highest, index)
}

/** Moves early chunks whose turn has come, until the next is missing or `enough`. */
async function moveEarly(core: Core, owned: Owned, ledger: Ledger, enough: () => boolean): Promise<void> {
  // Where rows tell the order of the bytes, none has to move.
  if (core.staging.segmented) return
  const { id } = owned.row
  const { beside } = owned.staged
  while (ledger.early > 0 && !enough()) {
    const moved = await inTurn(core.db, id, ledger.next)
    if (moved.length === 0) return
    const stretches = moved.map(({ file, size }) => ({ file, position: 0, bytes: size }))
    const bytes = moved.reduce((sum, { size }) => sum + size, 0)
    const stream = Readable.from(beside.read(stretches), { objectMode: false, highWaterMark: 256 * 1024 })
    await appendWhole(core, owned, { bytes, stream }, (start) => {
      let position = start
      return moved.map(({ index, size }) => {
        const statement = nowInPlace({ uploadId: id, index, position })
        position += size
        return statement
      })
    })
    core.step('early-batch')
    ledger.next += moved.length
    ledger.early -= moved.length
    for (const { file } of moved) await beside.remove(file)
  }
}

async function sealChunks(core: Core, owned: Owned, total: number, callLogId: string): Promise<void> {
  const { db, step } = core
  const { row, staged } = owned
  if (row.recordingId !== null || (isOpen(row) && row.length !== null)) {
    if (row.callLogId !== callLogId) throw callLogMismatch()
    return
  }
  assertTakesChunks(core, owned)
  const ledger = await ledgerOf(core, owned)
  if (total <= ledger.highest) {
    throw new ServiceError(
      'invalid_parameter',
      `The parameter total_chunks must be above ${ledger.highest}, the highest index received.`,
    )
  }
  if (ledger.received < total) throw incomplete(await missingOf(db, row.id, ledger, total))
  if (core.staging.segmented) await sealSegmented(core, owned, ledger, callLogId)
  else await sealInPlace(core, owned, ledger, callLogId)
  step('sealed')
  if (ledger.received > STEP_ROWS) await dropChunks(db, row.id)
  if (!core.staging.segmented) await staged.beside.clear()
}

/** Brings all chunks to their places in the upload's bytes, and seals those. */
async function sealInPlace(core: Core, owned: Owned, ledger: Ledger, callLogId: string): Promise<void> {
  try {
    await moveEarly(core, owned, ledger, () => false)
    core.step('early-moved')
    if (ledger.replaced > 0) await compose(core, owned, ledger.bytes)
    await seal(core, owned, { length: ledger.bytes, callLogId, also: [dropStep(owned.row.id)] })
  } finally {
    owned.ledger = undefined
  }
}

/** The chunks become the upload's segments, in the transaction that seals it. */
async function sealSegmented(core: Core, owned: Owned, { bytes }: Ledger, callLogId: string): Promise<void> {
  const { clock, ownership } = core
  const { row, savedOffset: expected } = owned
  const { id } = row
  const lastByteAtMs = clock.now()
  const key = row.key ?? keyFor(row, callLogId, lastByteAtMs)
  const sealed = uploadSealed({ id, length: bytes, callLogId, key, expected })
  const reached = must(offsetReached({ id, offset: bytes, lastByteAtMs, expected }), closed)
  const changes = { state: 'finishing', length: bytes, callLogId, key, offset: bytes, lastByteAtMs } as const
  await commit(core, owned, sealed, changes, [reached, segmentsOfChunks(id), dropStep(id)])
  // Its bytes have other names now, which the table tells.
  ownership.forget(owned)
}

function incomplete(missing: number[]): ServiceError {
  const count = missing.length === 1 ? '1 chunk is' : `${missing.length} chunks are`
  return new ServiceError('incomplete_upload', `${count} missing; append them and finalize again.`, {
    members: { missing_chunks: missing },
  })
}

const closed = () => new ServiceError('upload_closed', 'This upload takes no more chunks.')

export const callLogMismatch = () =>
  new ServiceError('call_log_mismatch', 'The upload was begun for another call_log_id.')

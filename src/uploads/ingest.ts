/**
 * The one core behind all doors: an upload begins, grows, and is finished or cancelled.
 *
 * Joins the staging of bytes, the library of recordings and the tables. Whoever appends or cancels holds the upload's
 * lock; finishing needs none. Knows nothing of HTTP.
 */

import type { Readable } from 'node:stream'
import type { Clock } from '../clock.ts'
import type { Config } from '../config/config.ts'
import { type Database, must, type Statement, UniqueViolation } from '../db/database.ts'
import type { UploadRow } from '../db/schema.ts'
import {
  keyFreed,
  lengthDeclared,
  offsetRelaid,
  partsJoined,
  uploadAdded,
  uploadHeardOf,
  uploadIdUnderKey,
  uploadSealed,
} from '../db/uploads.ts'
import { asServiceError, ServiceError, shuttingDown } from '../errors.ts'
import type { Events } from '../events.ts'
import { stillMay } from '../leads/rights.ts'
import type { Inspector } from '../media/inspect.ts'
import type { Library } from '../storage/disk/library.ts'
import type { Staging } from '../storage/disk/staging.ts'
import type { BodyCheck, Written } from '../storage/disk/writer.ts'
import type { Space } from '../storage/space.ts'
import { createCallersLimit } from './callers-limit.ts'
import { assertPart, isPartial, partIdsOf } from './concatenation.ts'
import { createEnds } from './end.ts'
import { createFinishing, type Finished } from './finishing.ts'
import { type Idempotency, otherRequest } from './idempotency.ts'
import { createRegister, type Open } from './register.ts'
import { Seals } from './seal.ts'
import { createSilence } from './silence.ts'
import { closed, expiryOf, hasAllBytes, isOpen, isWhole, keyFor, newRow, type UploadIntent } from './upload.ts'

export interface AppendOptions {
  maxBytes?: number
  signal?: AbortSignal
  /** With a check, all bytes of the source count or none does. */
  check?: BodyCheck | undefined
  /** The offset is left to `seal`: what came is of no use unless all has come. */
  allOrNothing?: boolean
}

/** Bytes that are on their way from elsewhere, and how many they are. */
export interface Counted {
  bytes: number
  stream: Readable
}

/** What an upload of deferred length becomes. */
export interface Seal {
  /** Bytes, all of them there. */
  length: number
  callLogId: string
  /** What is true from the same moment on. */
  also?: readonly Statement[]
}

interface Parts {
  db: Database
  staging: Staging
  library: Library
  space: Space
  inspector: Inspector
  events: Events
  clock: Clock
  limits: Config['uploads']
  crashAt?: string | undefined
}

export type Ingest = ReturnType<typeof createIngest>

export function createIngest(parts: Parts) {
  const { db, staging, library, space, inspector, events, clock, limits } = parts
  let draining = false

  /** Kills the process at a named step; only tests of crashes set one. */
  const step = (name: string) => {
    if (parts.crashAt === name) process.kill(process.pid, 'SIGKILL')
  }

  const silence = createSilence({ db, clock })
  const register = createRegister({ db, staging, library, space, events, clock, silence, limits })
  const seals = new Seals()
  const ends = createEnds({ db, staging, library, space, register, seals, events, silence, limits })
  const callersLimit = createCallersLimit({ db, register, maxPerCaller: limits.maxPerCaller })
  const finishing = createFinishing({
    db,
    staging,
    library,
    space,
    inspector,
    register,
    seals,
    ends,
    events,
    clock,
    step,
  })
  const { load, using, find, findFor, saveOffset, isExpired, assertAlive, assertUsable, bytesMissing } = register
  const { finish } = finishing

  /**
   * The upload as a client may see it: one that is whole is finished first, so that its full length is never shown
   * before its recording is committed.
   *
   * @throws ServiceError 404, 410, or what keeps it from being finished
   */
  async function look(id: string): Promise<UploadRow> {
    const open = await load(id)
    if (isWhole(open.row) && !open.missing) await finish(id)
    assertUsable(open)
    return open.row
  }

  /** The caller may still upload to the lead, for this call, when the upload is recorded. */
  const rightsOf = ({ caller, leadId, callLogId }: UploadIntent): Statement =>
    stillMay({ caller, act: 'upload', leadId, callLogId })

  /** The upload that the caller began under this key, unless it has ended without a recording. @throws ServiceError `idempotency_conflict` */
  async function earlier(intent: UploadIntent, idempotency: Idempotency): Promise<UploadRow | undefined> {
    const id = await uploadIdUnderKey(db, keyOf(intent, idempotency))
    if (id === undefined) return undefined
    const { row } = await load(id)
    if ((!isOpen(row) && row.state !== 'finished') || isExpired(row)) return undefined
    if (row.idempotencyFingerprint !== idempotency.fingerprint) throw otherRequest()
    return row
  }

  /** Takes the key from an upload that ended without a recording: the next one may have it. */
  const freeKey = (intent: UploadIntent, idempotency: Idempotency) =>
    keyFreed(keyOf(intent, idempotency), { nowMs: silence.nowMs(), expiresAfterMs: limits.expiresAfterMs })

  /**
   * Records a new upload; its file comes with its first byte. Under a key that an upload has already, gives that one.
   *
   * @throws ServiceError `shutting_down`, `too_large`, `too_many_uploads`, `insufficient_storage` or
   *   `idempotency_conflict`, before anything is kept
   */
  async function begin(intent: UploadIntent): Promise<UploadRow> {
    if (draining) throw shuttingDown()
    const { idempotency } = intent
    const known = idempotency && (await earlier(intent, idempotency))
    if (known) return known
    if (intent.length !== null && intent.length > limits.maxBytes) throw tooLarge(limits.maxBytes)
    await space.reserve({
      id: intent.id,
      callerId: intent.caller.id,
      length: intent.length ?? intent.expectedBytes ?? 0,
      offset: 0,
      // The simple door's has its bytes on their way.
      givesWay: intent.door !== 'simple',
    })
    const row = newRow(intent, clock.now())
    if (intent.bytesFollow) callersLimit.bytesFollow(row.id)
    let gaveWay: string[]
    try {
      const keyed = idempotency ? [freeKey(intent, idempotency)] : []
      gaveWay = await callersLimit.begin(row.callerId, (room) => [
        rightsOf(intent),
        ...room,
        ...keyed,
        uploadAdded(row),
      ])
    } catch (error) {
      space.release(row.id)
      // The same request, twice at once.
      const winner = idempotency && error instanceof UniqueViolation ? await earlier(intent, idempotency) : undefined
      if (winner) return winner
      throw error
    }
    begun(row)
    for (const id of gaveWay) await ends.gaveWay(id)
    return row
  }

  function begun(row: UploadRow): void {
    events.uploadCreated({
      uploadId: row.id,
      leadId: row.leadId,
      callerId: row.callerId,
      door: row.door,
      length: row.length,
    })
    register.add(row)
  }

  /**
   * Makes one upload of several partial ones, in their order, and finishes it; the caller holds the locks of all.
   *
   * From the one transaction on, the parts take no more bytes and their bytes are the new upload's: what fails after it
   * is made good like any finish. Asked for again, with the same parts or under the same key, it gives the upload that
   * there is.
   *
   * @throws ServiceError 400, 403, 404 or 410 when a part can't be used, `empty_upload`, `too_large`,
   *   `idempotency_conflict`; as `finish`
   */
  async function concatenate(intent: UploadIntent & { concat: string }): Promise<Finished> {
    const known = await earlierWhole(intent)
    if (known) return finish(known.id)
    const parts = await Promise.all(partIdsOf(intent.concat).map(load))
    for (const part of parts) part.users += 1
    try {
      return await concatenateParts(intent, parts)
    } finally {
      for (const part of parts) part.users -= 1
    }
  }

  /**
   * The final upload that the caller made under this key. Its parts may be others: a client that never heard of it has
   * sent them all again. They must be as long as they were, where they are still known.
   */
  async function earlierWhole(intent: UploadIntent & { concat: string }): Promise<UploadRow | undefined> {
    const known = intent.idempotency && (await earlier(intent, intent.idempotency))
    if (!known) return undefined
    const parts = await Promise.all(partIdsOf(intent.concat).map((id) => find(id).catch(unlessUnknown)))
    const lengths = parts.map((row) => row?.length ?? undefined)
    if (lengths.includes(undefined)) return known
    const length = lengths.reduce<number>((sum, each) => sum + (each as number), 0)
    if (length !== known.length) throw otherRequest()
    return known
  }

  async function concatenateParts(
    intent: UploadIntent & { concat: string },
    parts: readonly Open[],
  ): Promise<Finished> {
    const ids = parts.map(({ row }) => row.id)
    for (const { row } of parts) assertPart(row, intent)
    const finalId = parts[0]?.row.finalId ?? null
    if (finalId !== null && parts.every(({ row }) => row.finalId === finalId)) {
      const earlier = (await load(finalId)).row
      if (partIdsOf(earlier.concat).join() === ids.join()) return finish(finalId)
    }
    for (const part of parts) {
      assertUsable(part)
      if (!hasAllBytes(part.row))
        throw new ServiceError('incomplete_upload', 'A part of the upload is not complete yet.')
    }
    if (draining) throw shuttingDown()
    const size = parts.reduce((sum, { row }) => sum + row.offset, 0)
    if (size === 0) throw empty()
    if (size > limits.maxBytes) throw tooLarge(limits.maxBytes)
    const row = newRow({ ...intent, length: size }, clock.now())
    Object.assign(row, { offset: size, state: 'finishing' })
    // What a copy takes beside its original; the first part is renamed.
    const copying = Math.max(0, ...parts.slice(1).map((part) => part.row.offset))
    await space.reserve({ id: row.id, length: size, offset: size - copying })
    try {
      const keyed = intent.idempotency ? [freeKey(intent, intent.idempotency)] : []
      await db.write(rightsOf(intent), ...keyed, uploadAdded(row), must(partsJoined(ids, row.id), closed, ids.length))
    } catch (error) {
      space.release(row.id)
      // The same request, twice at once.
      const winner = error instanceof UniqueViolation ? await earlierWhole(intent) : undefined
      if (winner) return finish(winner.id)
      throw error
    }
    step('concatenated')
    for (const part of parts) {
      Object.assign(part.row, { state: 'concatenated', finalId: row.id })
      space.release(part.row.id)
    }
    begun(row)
    return finish(row.id)
  }

  /**
   * Writes what the source brings at the upload's offset; the caller holds the upload's lock.
   *
   * Whatever ends it, the bytes up to the offset told are on disk and recorded. An upload that is whole now is left to
   * `finish`, which records its offset along with its recording.
   *
   * @throws ServiceError `checksum_mismatch` when the check does not hold: the upload is as it was;
   *   `upload_closed`, `insufficient_storage` or `unavailable`: what was stored before stays
   */
  const append = (id: string, source: Readable, options: AppendOptions = {}): Promise<Written> =>
    using(id, (open) => appendTo(open, source, options))

  async function appendTo(open: Open, source: Readable, options: AppendOptions): Promise<Written> {
    const { row } = open
    assertUsable(open)
    if (draining) throw shuttingDown()
    if (row.state !== 'receiving') throw new ServiceError('upload_closed', 'This upload takes no more bytes.')
    const before = row.offset
    if (row.length !== null && before < row.length) await space.keep(roomFor(row, row.length))
    const written = await staging
      .append(source, row.id, before, {
        ...options,
        // A partial upload's file stays where it is, so its name must last.
        length: isPartial(row) ? undefined : (row.length ?? undefined),
        movesOn: options.allOrNothing,
        ...(!options.allOrNothing && { onCheckpoint: (offset: number) => saveOffset(open, offset) }),
      })
      .catch((error) => {
        throw before > 0 && isMissing(error) ? bytesMissing(row, error) : error
      })
    const isAll = written.offset === row.length && !written.error && !isPartial(row)
    if (isAll || options.allOrNothing) {
      row.offset = written.offset
      row.lastByteAtMs = clock.now()
      space.arrived(row.id, row.offset)
    } else if (written.offset > open.savedOffset) {
      await saveOffset(open, written.offset)
    }
    if (written.error) throw asServiceError(written.error)
    if (draining && written.end === 'stopped' && !isWhole(row)) throw shuttingDown()
    if (written.end === 'mismatch') {
      throw new ServiceError('checksum_mismatch', 'The bytes do not have the checksum they came with; none was kept.')
    }
    return written
  }

  /**
   * Writes bytes that are here whole at the upload's offset: all of them or none; the caller holds the upload's lock.
   *
   * @param also what is recorded in the same moment as the bytes; gets the position of the first
   * @throws ServiceError as `append` does; `source` failing is an error of ours
   */
  const place = (id: string, source: Buffer | Counted, also: (position: number) => Statement[]): Promise<void> =>
    using(id, (open) => placeIn(open, source, also))

  async function placeIn(open: Open, source: Buffer | Counted, also: (position: number) => Statement[]): Promise<void> {
    const { row } = open
    assertDeferred(open)
    const position = row.offset
    const bytes = Buffer.isBuffer(source) ? source.length : source.bytes
    const claim = `${row.id}.next`
    await space.reserve({ id: claim, length: bytes, offset: 0 })
    try {
      if (Buffer.isBuffer(source)) await staging.place(source, row.id, position)
      else {
        const written = await staging.append(source.stream, row.id, position)
        if (written.error) throw written.error
        if (written.end === 'stopped') throw shuttingDown()
        if (written.offset !== position + bytes) throw new Error('bytes that were stored beside an upload are missing')
      }
      space.arrived(claim, bytes)
      step('placed')
      await saveOffset(open, position + bytes, also(position))
    } catch (error) {
      throw position > 0 && isMissing(error) ? bytesMissing(row, error) : error
    } finally {
      space.release(claim)
    }
  }

  /**
   * Fixes the length and the call of an upload that deferred them, once; what can follow is its finish. The caller holds
   * the upload's lock.
   *
   * @throws ServiceError `upload_closed` or `insufficient_storage`
   */
  const seal = (id: string, what: Seal): Promise<void> => using(id, (open) => sealOpen(open, what))

  async function sealOpen(open: Open, { length, callLogId, also = [] }: Seal): Promise<void> {
    const { row } = open
    assertDeferred(open)
    if (length !== row.offset) throw new Error(`${row.offset} bytes of an upload cannot be sealed as ${length}`)
    await space.reserve({ id: row.id, length, offset: length })
    const size = staging.passed(row.id) ?? (await staging.sizeOf(row.id)) ?? 0
    if (size < length) throw bytesMissing(row)
    // What lies beyond was written, and never acknowledged.
    if (size > length) await staging.truncate(row.id, length)
    const key = row.key ?? keyFor(row, callLogId, clock.now())
    await db.write(must(uploadSealed({ id: row.id, length, callLogId, key }), closed), ...also)
    Object.assign(row, { state: 'finishing', length, callLogId, key })
  }

  /**
   * The upload's bytes are being laid out anew: its offset becomes `offset`, forward or back. The caller holds the
   * upload's lock, and sees to it that at least so many bytes are in its file before and after.
   *
   * @throws ServiceError `upload_closed`
   */
  const relay = (id: string, offset: number, also: readonly Statement[]): Promise<void> =>
    using(id, async (open) => {
      await db.write(must(offsetRelaid({ id, offset }), closed), ...also)
      open.row.offset = offset
      open.savedOffset = offset
    })

  /**
   * Bytes of the upload have come that are kept elsewhere until their turn: it has not been silent.
   *
   * @throws ServiceError `upload_closed`; nothing is recorded then
   */
  const kept = (id: string, also: readonly Statement[]): Promise<void> =>
    using(id, async (open) => {
      // Later than its beginning in any case: it has got a byte.
      const lastByteAtMs = Math.max(clock.now(), open.row.createdAtMs + 1)
      await db.write(must(uploadHeardOf({ id, lastByteAtMs }), closed), ...also)
      open.row.lastByteAtMs = lastByteAtMs
    })

  /** @throws ServiceError `upload_closed` for an upload whose length is fixed, and as `assertUsable` does */
  function assertDeferred(open: Open): void {
    assertUsable(open)
    if (open.row.state !== 'receiving' || open.row.length !== null) throw closed()
  }

  /** Fixes the length of an upload that deferred it. @throws ServiceError `too_large`, `insufficient_storage`, `invalid_length` */
  const declareLength = (id: string, length: number): Promise<void> => using(id, (open) => declareTo(open, length))

  async function declareTo(open: Open, length: number): Promise<void> {
    const { id } = open.row
    assertUsable(open)
    if (open.row.length !== null || length < open.row.offset) {
      throw new ServiceError('invalid_length', 'The length is declared once, and no shorter than what has come.')
    }
    if (length === 0 && !isPartial(open.row)) throw empty()
    if (length > limits.maxBytes) throw tooLarge(limits.maxBytes)
    await space.reserve({ ...roomFor(open.row, length), givesWay: open.row.offset === 0 })
    try {
      await db.write(must(lengthDeclared({ id, length }), closed))
    } catch (error) {
      space.release(id)
      throw error
    }
    open.row.length = length
  }

  return {
    staging,
    begin,
    find,
    findFor,
    look,
    append,
    place,
    kept,
    seal,
    relay,
    assertAlive,
    step,
    declareLength,
    concatenate,
    finish,
    cancel: ends.cancel,
    terminate: ends.terminate,
    abandon: ends.abandon,
    abandoned: ends.abandoned,
    expire: ends.expire,
    unfinished: finishing.unfinished,
    followClock: register.followClock,
    /** From now on nothing begins or goes on coming in; what came is kept, and what is whole is finished. */
    drain() {
      draining = true
      staging.stop()
    },
    isDraining: () => draining,
    settled: finishing.settled,
    /** When an unfinished upload expires if no byte comes any more, in milliseconds since the epoch. */
    expiresAtMs: (row: UploadRow) => expiryOf(row, limits.expiresAfterMs) - Math.max(0, row.lastByteAtMs - clock.now()),
  }
}

const roomFor = ({ id, callerId, offset }: UploadRow, length: number) => ({ id, callerId, length, offset })

const keyOf = ({ caller, leadId }: UploadIntent, { key }: Idempotency) => ({ callerId: caller.id, leadId, key })

/** For what an unknown upload is no fault of. */
const unlessUnknown = (error: unknown): undefined => {
  if (asServiceError(error).code !== 'upload_not_found') throw error
}

const isMissing = (error: unknown) => (error as NodeJS.ErrnoException | undefined)?.code === 'ENOENT'

const empty = () => new ServiceError('empty_upload', 'A recording has at least one byte.')

const tooLarge = (maxBytes: number) => new ServiceError('too_large', `An upload may have ${maxBytes} bytes at most.`)

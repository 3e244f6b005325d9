/**
 * The one core behind all doors: an upload begins, grows, and is finished or cancelled.
 *
 * Joins the staging of bytes, the library of recordings and the tables. Whoever appends or cancels holds the upload's
 * lock; `finish` needs none: it is safe to call again, at once from several sides, and after a crash at any point, since
 * the key that a recording will lie under is in the upload's row before a byte moves, and the recording's row is unique
 * by its upload. Knows nothing of HTTP.
 */

import type { Readable } from 'node:stream'
import { type KvStore, Metadata, Upload } from '@tus/server'
import { and, eq, inArray, isNull, lt, lte, or, sql } from 'drizzle-orm'
import type { Auth, Caller } from '../auth.ts'
import type { Clock } from '../clock.ts'
import type { Config } from '../config.ts'
import { bind, type Database, holds, isUniqueViolation, must, type Statement } from '../db/database.ts'
import { chunks, type Recording, recordings, type UploadRow, uploads } from '../db/schema.ts'
import { sha256Of } from '../digest.ts'
import { asServiceError, passing, ServiceError } from '../errors.ts'
import type { Events } from '../events.ts'
import { isId, newId } from '../ids.ts'
import { inspectMedia } from '../playback/media-type.ts'
import type { Library } from '../recordings/library.ts'
import { assemble, assertPart, isFinal, isPartial, partIdsOf } from './concatenation.ts'
import { type Idempotency, otherRequest } from './idempotency.ts'
import type { Space } from './space.ts'
import type { BodyCheck, Staging, Written } from './staging.ts'

/** Uploads whose rows are kept at hand between their requests. */
const ROWS_AT_HAND = 10_000

export interface UploadIntent {
  id: string
  door: UploadRow['door']
  caller: Caller
  leadId: string
  callLogId?: string | null
  /** Base name only. */
  filename?: string | null
  /** The `Upload-Metadata` header, as it came. */
  metadata?: string | null
  /** Bytes; null while deferred. */
  length: number | null
  /** The `Upload-Concat` header, as it came. */
  concat?: string | null
  /** Of all bytes, in hex, as the client promises it. */
  expectedSha256?: string | null
  /** What will come at most, where only that is known: room is kept for it. */
  expectedBytes?: number | undefined
  /** What makes a repeat of the request give the upload that is there. */
  idempotency?: Idempotency | undefined
}

/** A finished upload: the row is there when this call made it or had to look. */
export interface Finished {
  upload: UploadRow
  recordingId: string
}

/** An upload as memory has it: `row.offset` may be ahead of the table while a finish is under way. */
interface Open {
  row: UploadRow
  /** The offset that the table has. */
  savedOffset: number
  /** How many are at work on it: it must not be forgotten meanwhile. */
  users: number
  /** Its finish was refused for good as things stand: it may expire although it is whole. */
  refused: boolean
  /** Bytes that the table tells of are not on the disk. */
  missing: boolean
}

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
  auth: Auth
  staging: (configstore: KvStore<Upload>) => Staging
  library: Library
  space: Space
  events: Events
  clock: Clock
  limits: Config['uploads']
  crashAt?: string | undefined
}

const OPEN_STATES = ['receiving', 'finishing'] as const
const isMissing = (error: unknown) => (error as NodeJS.ErrnoException | undefined)?.code === 'ENOENT'
const isOpen = (row: UploadRow) => row.state === 'receiving' || row.state === 'finishing'

const hasAllBytes = (row: UploadRow) => row.length !== null && row.offset === row.length

/** All bytes of the upload are here, and it waits for its finish; a partial one waits for its final one. */
export const isWhole = (row: UploadRow) => isOpen(row) && hasAllBytes(row) && !isPartial(row)

/** `LEAD/CALLLOG_20261122T071530Z_1f0c5d7a9b2e.ext`: unique, readable for an operator, safe on any file system. */
function keyFor(row: UploadRow, callLogId: string, atMs: number): string {
  const timestamp = new Date(atMs).toISOString().replace(/[-:]|\.\d+/g, '')
  const extension = /\.([A-Za-z0-9]{1,8})$/.exec(row.filename ?? '')?.[1]?.toLowerCase() ?? 'bin'
  return `${row.leadId}/${callLogId}_${timestamp}_${newId().replaceAll('-', '').slice(0, 12)}.${extension}`
}

function newRow(intent: UploadIntent, atMs: number): UploadRow {
  const row: UploadRow = {
    id: intent.id,
    door: intent.door,
    leadId: intent.leadId,
    callLogId: intent.callLogId ?? null,
    callerId: intent.caller.id,
    callerRole: intent.caller.role,
    filename: intent.filename ?? null,
    metadata: intent.metadata ?? null,
    length: intent.length,
    offset: 0,
    state: 'receiving',
    key: null,
    recordingId: null,
    concat: intent.concat ?? null,
    finalId: null,
    expectedSha256: intent.expectedSha256 ?? null,
    idempotencyKey: intent.idempotency?.key ?? null,
    idempotencyFingerprint: intent.idempotency?.fingerprint ?? null,
    createdAtMs: atMs,
    lastByteAtMs: atMs,
  }
  if (row.callLogId !== null && row.filename !== null) row.key = keyFor(row, row.callLogId, atMs)
  return row
}

export type Ingest = ReturnType<typeof createIngest>

export function createIngest(parts: Parts) {
  const { db, auth, library, space, events, clock, limits } = parts
  const atHand = new Map<string, Open>()
  const finishing = new Map<string, Promise<Finished>>()
  /** Whole uploads whose finish failed: the sweep tries them again. */
  const unfinished = new Set<string>()
  let draining = false

  const statements = {
    byId: db.orm
      .select()
      .from(uploads)
      .where(eq(uploads.id, sql.placeholder('id')))
      .prepare(),
    insert: db.orm
      .insert(uploads)
      .values({
        id: sql.placeholder('id'),
        door: sql.placeholder('door'),
        leadId: sql.placeholder('leadId'),
        callLogId: sql.placeholder('callLogId'),
        callerId: sql.placeholder('callerId'),
        callerRole: sql.placeholder('callerRole'),
        filename: sql.placeholder('filename'),
        metadata: sql.placeholder('metadata'),
        length: sql.placeholder('length'),
        offset: sql.placeholder('offset'),
        state: sql.placeholder('state'),
        key: sql.placeholder('key'),
        concat: sql.placeholder('concat'),
        expectedSha256: sql.placeholder('expectedSha256'),
        idempotencyKey: sql.placeholder('idempotencyKey'),
        idempotencyFingerprint: sql.placeholder('idempotencyFingerprint'),
        createdAtMs: sql.placeholder('createdAtMs'),
        lastByteAtMs: sql.placeholder('lastByteAtMs'),
      })
      .prepare(),
    saveOffset: db.orm
      .update(uploads)
      .set({ offset: sql`${sql.placeholder('offset')}`, lastByteAtMs: sql`${sql.placeholder('lastByteAtMs')}` })
      .where(
        and(
          eq(uploads.id, sql.placeholder('id')),
          inArray(uploads.state, [...OPEN_STATES]),
          lte(uploads.offset, sql.placeholder('offset')),
        ),
      )
      .prepare(),
    insertRecording: db.orm
      .insert(recordings)
      .values({
        id: sql.placeholder('id'),
        uploadId: sql.placeholder('uploadId'),
        leadId: sql.placeholder('leadId'),
        callLogId: sql.placeholder('callLogId'),
        telecallerId: sql.placeholder('telecallerId'),
        filename: sql.placeholder('filename'),
        path: sql.placeholder('path'),
        contentType: sql.placeholder('contentType'),
        size: sql.placeholder('size'),
        sha256: sql.placeholder('sha256'),
        durationSeconds: sql.placeholder('durationSeconds'),
        mediaCheck: sql.placeholder('mediaCheck'),
        createdAtMs: sql.placeholder('createdAtMs'),
      })
      .prepare(),
    markFinished: db.orm
      .update(uploads)
      .set({
        state: 'finished',
        offset: sql`${sql.placeholder('offset')}`,
        lastByteAtMs: sql`${sql.placeholder('lastByteAtMs')}`,
        recordingId: sql`${sql.placeholder('recordingId')}`,
      })
      .where(and(eq(uploads.id, sql.placeholder('id')), inArray(uploads.state, [...OPEN_STATES])))
      .prepare(),
    countOpen: db.orm
      .select({ count: sql<number>`count(*)` })
      .from(uploads)
      .where(
        and(eq(uploads.callerId, sql.placeholder('callerId')), sql`${uploads.state} in ('receiving', 'finishing')`),
      )
      .prepare(),
  }

  /** Kills the process at a named step; only tests of crashes set one. */
  const step = (name: string) => {
    if (parts.crashAt === name) process.kill(process.pid, 'SIGKILL')
  }

  const keepAtHand = (open: Open): Open => {
    atHand.set(open.row.id, open)
    if (atHand.size > ROWS_AT_HAND) {
      for (const [id, each] of atHand) {
        // A row that is ahead of the table is the only memory of its bytes; a second copy of one in use would fall behind.
        if (each.savedOffset === each.row.offset && each.users === 0) {
          atHand.delete(id)
          break
        }
      }
    }
    return open
  }

  /** What the disk says about an upload that memory does not know: after a start, or long ago. */
  async function recovered(row: UploadRow): Promise<Pick<Open, 'row' | 'missing'>> {
    // Of a final upload, the bytes may lie with its parts; its finish gathers them, or says that they are gone.
    if (!isOpen(row) || isFinal(row)) return { row, missing: false }
    const staged = await staging.sizeOf(row.id)
    if (staged !== undefined && staged >= row.offset) return { row, missing: false }
    if (staged === undefined && row.key !== null && row.length !== null) {
      // Moved, but its row was not committed any more.
      const moved = (await library.sizeOf(row.key)) === row.length
      if (moved) return { row: { ...row, offset: row.length }, missing: false }
    }
    return { row, missing: row.offset > 0 }
  }

  async function load(id: string): Promise<Open> {
    const known = atHand.get(id)
    if (known) return known
    const row = isId(id) ? await statements.byId.get({ id }) : undefined
    if (!row) throw new ServiceError('upload_not_found', 'There is no such upload.')
    const open = { ...(await recovered(row)), savedOffset: row.offset, users: 0, refused: false }
    // Missing bytes may come back with their file system: that is not for memory to keep.
    return atHand.get(id) ?? (open.missing ? open : keepAtHand(open))
  }

  /** Works on an upload, whose row stays at hand until the work is done. */
  async function using<T>(id: string, work: (open: Open) => Promise<T>): Promise<T> {
    const open = await load(id)
    open.users += 1
    try {
      return await work(open)
    } finally {
      open.users -= 1
    }
  }

  const isExpired = (row: UploadRow) =>
    row.state === 'receiving' && !isWhole(row) && clock.now() - row.lastByteAtMs > limits.expiresAfterMs

  /** @throws ServiceError 410 for an upload that ended without a recording */
  function assertAlive(row: UploadRow): void {
    if (row.state === 'expired' || isExpired(row)) {
      throw new ServiceError('upload_expired', 'This upload was silent for too long and has expired.')
    }
    if (row.state === 'concatenated') {
      throw new ServiceError('upload_terminated', 'This upload has become part of another one.')
    }
    if (row.state === 'terminated') throw new ServiceError('upload_terminated', 'This upload has been terminated.')
    if (row.state === 'rejected')
      throw new ServiceError('upload_terminated', 'This upload was not what it promised to be.')
  }

  /** The alarm, and 410: what was acknowledged is not there any more. */
  function bytesMissing(row: UploadRow, cause?: unknown): ServiceError {
    atHand.delete(row.id)
    events.uploadBytesMissing({ uploadId: row.id, leadId: row.leadId, offset: row.offset })
    return new ServiceError('upload_expired', 'The bytes of this upload are gone; start a new one.', { cause })
  }

  /** @throws ServiceError 410 for an upload that ended without a recording, or whose bytes are gone */
  function assertUsable({ row, missing }: Open): void {
    assertAlive(row)
    if (missing) throw bytesMissing(row)
  }

  /** The upload's row as it stands; 404 for an unknown one. */
  const find = async (id: string): Promise<UploadRow> => (await load(id)).row

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

  /** Stands ahead of the insert in one transaction, so that many beginnings at once do not overshoot the limit. */
  const roomForCaller = (callerId: string): Statement =>
    holds<{ count: number } | undefined>(
      () => statements.countOpen.get({ callerId }),
      (open) => (open?.count ?? 0) < limits.maxPerCaller,
      () =>
        new ServiceError('too_many_uploads', `No more than ${limits.maxPerCaller} uploads may be open at once.`, {
          headers: { 'Retry-After': '30' },
        }),
    )

  /** The upload that the caller began under this key, unless it has ended without a recording. @throws ServiceError `idempotency_conflict` */
  async function earlier(intent: UploadIntent, idempotency: Idempotency): Promise<UploadRow | undefined> {
    const stored = await db.orm.select({ id: uploads.id }).from(uploads).where(underKey(intent, idempotency)).get()
    if (!stored) return undefined
    const { row } = await load(stored.id)
    if ((!isOpen(row) && row.state !== 'finished') || isExpired(row)) return undefined
    if (row.idempotencyFingerprint !== idempotency.fingerprint) throw otherRequest()
    return row
  }

  /** Takes the key from an upload that ended without a recording: the next one may have it. */
  const freeKey = (intent: UploadIntent, idempotency: Idempotency) =>
    db.orm
      .update(uploads)
      .set({ idempotencyKey: null })
      .where(
        and(
          underKey(intent, idempotency),
          or(
            inArray(uploads.state, ['terminated', 'expired', 'rejected']),
            and(eq(uploads.state, 'receiving'), lt(uploads.lastByteAtMs, clock.now() - limits.expiresAfterMs)),
          ),
        ),
      )

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
    await space.reserve({ id: intent.id, length: intent.length ?? intent.expectedBytes ?? 0, offset: 0 })
    const row = newRow(intent, clock.now())
    try {
      const keyed = idempotency ? [freeKey(intent, idempotency)] : []
      await db.write(roomForCaller(row.callerId), ...keyed, bind(statements.insert, { ...row }))
    } catch (error) {
      space.release(row.id)
      // The same request, twice at once.
      const winner = idempotency && isUniqueViolation(error) ? await earlier(intent, idempotency) : undefined
      if (winner) return winner
      throw error
    }
    begun(row)
    return row
  }

  function begun(row: UploadRow): Open {
    events.uploadCreated({
      uploadId: row.id,
      leadId: row.leadId,
      callerId: row.callerId,
      door: row.door,
      length: row.length,
    })
    return keepAtHand({ row, savedOffset: row.offset, users: 0, refused: false, missing: false })
  }

  /**
   * Makes one upload of several partial ones, in their order, and finishes it; the caller holds the locks of all.
   *
   * From the one transaction on, the parts take no more bytes and their bytes are the new upload's: what fails after it
   * is made good like any finish. Asked for again, with the same parts, it gives the upload that there is.
   *
   * @throws ServiceError 400, 403, 404 or 410 when a part can't be used, `empty_upload`, `too_large`; as `finish`
   */
  async function concatenate(intent: UploadIntent & { concat: string }): Promise<Finished> {
    const parts = await Promise.all(partIdsOf(intent.concat).map(load))
    for (const part of parts) part.users += 1
    try {
      return await concatenateParts(intent, parts)
    } finally {
      for (const part of parts) part.users -= 1
    }
  }

  async function concatenateParts(intent: UploadIntent, parts: readonly Open[]): Promise<Finished> {
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
    const seal = db.orm
      .update(uploads)
      .set({ state: 'concatenated', finalId: row.id })
      .where(and(inArray(uploads.id, ids), eq(uploads.state, 'receiving')))
    // What a copy takes beside its original; the first part is renamed.
    const copying = Math.max(0, ...parts.slice(1).map((part) => part.row.offset))
    await space.reserve({ id: row.id, length: size, offset: size - copying })
    try {
      await db.write(bind(statements.insert, { ...row }), must(seal, closed, ids.length))
    } catch (error) {
      space.release(row.id)
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

  /** Writes the offset to the table, and what is true along with it; from then on it may be acknowledged. */
  async function saveOffset(open: Open, offset: number, also: readonly Statement[] = []): Promise<void> {
    const lastByteAtMs = clock.now()
    await db.write(
      must(bind(statements.saveOffset, { id: open.row.id, offset, lastByteAtMs }), () => {
        atHand.delete(open.row.id)
        return new ServiceError('upload_closed', 'This upload takes no more bytes.')
      }),
      ...also,
    )
    open.row.offset = offset
    open.row.lastByteAtMs = lastByteAtMs
    open.savedOffset = offset
    space.arrived(open.row.id, offset)
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
    const written = await staging
      .append(source, row.id, before, {
        ...options,
        // A partial upload's file stays where it is, so its name must last.
        length: isPartial(row) ? undefined : (row.length ?? undefined),
        movesOn: options.allOrNothing,
        onCheckpoint: (offset) => saveOffset(open, offset),
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
        if (written.offset !== position + bytes) throw new Error('bytes that were stored beside an upload are missing')
      }
      space.arrived(claim, bytes)
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
    const key = row.key ?? keyFor(row, callLogId, clock.now())
    await db.write(
      must(
        db.orm
          .update(uploads)
          .set({ length, callLogId, key })
          .where(and(eq(uploads.id, row.id), eq(uploads.state, 'receiving'), isNull(uploads.length))),
        closed,
      ),
      ...also,
    )
    Object.assign(row, { length, callLogId, key })
  }

  /**
   * The upload's bytes are being laid out anew: its offset becomes `offset`, forward or back. The caller holds the
   * upload's lock, and sees to it that at least so many bytes are in its file before and after.
   *
   * @throws ServiceError `upload_closed`
   */
  const relay = (id: string, offset: number, also: readonly Statement[]): Promise<void> =>
    using(id, async (open) => {
      await db.write(
        must(
          db.orm
            .update(uploads)
            .set({ offset })
            .where(and(eq(uploads.id, id), eq(uploads.state, 'receiving'), isNull(uploads.length))),
          closed,
        ),
        ...also,
      )
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
      const lastByteAtMs = clock.now()
      await db.write(
        must(
          db.orm
            .update(uploads)
            .set({ lastByteAtMs })
            .where(and(eq(uploads.id, id), eq(uploads.state, 'receiving'), isNull(uploads.length))),
          closed,
        ),
        ...also,
      )
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
    await space.reserve({ id, length, offset: open.row.offset })
    try {
      await db.write(
        must(
          db.orm
            .update(uploads)
            .set({ length })
            .where(and(eq(uploads.id, id), eq(uploads.state, 'receiving'))),
          closed,
        ),
      )
    } catch (error) {
      space.release(id)
      throw error
    }
    open.row.length = length
  }

  /**
   * Turns a whole upload into its recording, once.
   *
   * @throws ServiceError `incomplete_upload`; 403 when its caller has lost the lead; 410; 503 or 507 when it must be
   *   tried again: the bytes stay, and so does the key
   */
  function finish(id: string): Promise<Finished> {
    const running = finishing.get(id)
    if (running) return running
    const promise = using(id, finishOnce).finally(() => finishing.delete(id))
    finishing.set(id, promise)
    return promise
  }

  async function finishOnce(open: Open): Promise<Finished> {
    const { row } = open
    const { id } = row
    unfinished.delete(id)
    if (row.state === 'finished' && row.recordingId !== null) return { upload: row, recordingId: row.recordingId }
    assertUsable(open)
    if (!isWhole(row)) throw new ServiceError('incomplete_upload', 'Bytes of this upload are missing.')
    try {
      const recordingId = await turnIntoRecording(open)
      return { upload: row, recordingId }
    } catch (error) {
      const told = asServiceError(error)
      await rememberWhole(open)
      open.refused = told.status < 500
      if (open.refused) throw told
      unfinished.add(id)
      events.finishFailed({ uploadId: id, leadId: row.leadId, err: error })
      throw told.status === 500
        ? passing('finish_failed', 'The upload is whole but could not be stored yet.', error)
        : told
    }
  }

  async function turnIntoRecording(open: Open): Promise<string> {
    const { row } = open
    const size = row.length as number
    const { callLogId, filename } = row
    if (callLogId === null || filename === null) throw new Error(`upload ${row.id} is whole but names no call`)
    // Rights may have moved while the bytes came: ask again.
    const lead = await auth.leadFor({ id: row.callerId, role: row.callerRole }, row.leadId, 'upload')
    step('rights-checked')
    const key = row.key ?? (await decideKey(open, callLogId))
    step('key-written')
    if (isFinal(row)) await gather(row, key, size)
    const { sha256, media } = await examine(row, key, size, filename)
    step('examined')
    if (row.expectedSha256 !== null && sha256 !== row.expectedSha256) await reject(open, key)
    await library.put(staging.pathOf(row.id), key)
    step('moved')
    const recording: Recording = {
      id: newId(),
      uploadId: row.id,
      leadId: row.leadId,
      callLogId,
      telecallerId: lead.telecallerId,
      filename,
      path: key,
      contentType: media.contentType,
      size,
      sha256,
      durationSeconds: media.durationSeconds,
      mediaCheck: media.mediaCheck,
      createdAtMs: clock.now(),
    }
    const recordingId = await record(open, recording)
    step('recorded')
    staging.forget(row.id)
    return recordingId
  }

  async function decideKey(open: Open, callLogId: string): Promise<string> {
    const key = keyFor(open.row, callLogId, clock.now())
    await db.write(
      must(
        db.orm
          .update(uploads)
          .set({ key, callLogId, state: 'finishing', offset: open.row.offset, lastByteAtMs: open.row.lastByteAtMs })
          .where(and(eq(uploads.id, open.row.id), inArray(uploads.state, [...OPEN_STATES]))),
        closed,
      ),
    )
    Object.assign(open.row, { key, state: 'finishing' })
    open.savedOffset = open.row.offset
    return key
  }

  /** Makes one file of a final upload's parts. @throws ServiceError `upload_expired` when bytes are gone */
  async function gather(row: UploadRow, key: string, size: number): Promise<void> {
    const rows = await Promise.all(partIdsOf(row.concat).map(async (id) => (await load(id)).row))
    const parts = rows.map(({ id, length }) => ({ id, size: length as number }))
    const gathered = await assemble(staging, row.id, parts, step)
    if (!gathered && (await library.sizeOf(key)) !== size) throw bytesMissing(row)
    space.arrived(row.id, size)
  }

  async function discardBytes(row: UploadRow): Promise<void> {
    for (const id of [row.id, ...partIdsOf(row.concat)]) await staging.discard(id)
  }

  /** Ends an upload whose bytes are not what its client promised; they go. @throws ServiceError `checksum_mismatch` */
  async function reject({ row }: Open, key: string): Promise<never> {
    await db.write(
      db.orm
        .update(uploads)
        .set({ state: 'rejected' })
        .where(and(eq(uploads.id, row.id), inArray(uploads.state, [...OPEN_STATES]))),
    )
    row.state = 'rejected'
    space.release(row.id)
    await discardBytes(row)
    await library.remove(key)
    events.uploadRejected({ uploadId: row.id, leadId: row.leadId, size: row.offset })
    throw new ServiceError('checksum_mismatch', 'The bytes are not those that were promised; start a new upload.')
  }

  /** What the bytes are, wherever a failed finish has left them. */
  async function examine(row: UploadRow, key: string, size: number, filename: string) {
    const staged = staging.passed(row.id) ?? (await staging.sizeOf(row.id))
    if (staged !== undefined && staged !== size) throw bytesMissing(row)
    if (staged === undefined) {
      const handle = await library.open(key)
      try {
        const read = async (position: number, length: number) => {
          const buffer = Buffer.allocUnsafe(length)
          const { bytesRead } = await handle.read(buffer, 0, length, position)
          return buffer.subarray(0, bytesRead)
        }
        return { sha256: await sha256Of(read, size), media: await inspectMedia(read, size, filename) }
      } finally {
        await handle.close()
      }
    }
    const reader = staging.reader(row.id)
    try {
      const media = await inspectMedia(reader.read, size, filename)
      return { sha256: await staging.sha256(row.id, size), media }
    } finally {
      await reader.close()
    }
  }

  /** The one transaction: the recording is there, and its upload is finished; or neither. */
  async function record(open: Open, recording: Recording): Promise<string> {
    const { row } = open
    // It is remembered from now on, however long its finish took.
    const lastByteAtMs = clock.now()
    try {
      await db.write(
        bind(statements.insertRecording, { ...recording }),
        must(
          bind(statements.markFinished, {
            id: row.id,
            offset: recording.size,
            lastByteAtMs,
            recordingId: recording.id,
          }),
          closed,
        ),
      )
    } catch (error) {
      if (!isUniqueViolation(error)) throw error
      // Another process of the operator's was faster.
      const stored = await statements.byId.get({ id: row.id })
      if (stored?.recordingId == null) throw error
      Object.assign(row, stored)
      open.savedOffset = stored.offset
      return stored.recordingId
    }
    Object.assign(row, { state: 'finished', offset: recording.size, lastByteAtMs, recordingId: recording.id })
    open.savedOffset = recording.size
    space.release(row.id)
    events.uploadFinished({
      uploadId: row.id,
      leadId: row.leadId,
      callLogId: recording.callLogId,
      recordingId: recording.id,
      size: recording.size,
    })
    return recording.id
  }

  /** After a failed finish: the table learns that all bytes are here, so that a start in between finishes them. */
  async function rememberWhole(open: Open): Promise<void> {
    if (open.savedOffset === open.row.offset || !isOpen(open.row)) return
    try {
      if ((await staging.sizeOf(open.row.id)) !== undefined) await staging.sync(open.row.id)
      await saveOffset(open, open.row.offset)
    } catch {
      // The database is what failed. Memory knows, and if it goes too, the key in the row finds the bytes.
    }
  }

  /** What goes with an upload that ends without a recording. */
  const chunksGo = (row: UploadRow): Statement[] =>
    row.door === 'legacy' ? [db.orm.delete(chunks).where(eq(chunks.uploadId, row.id))] : []

  /**
   * Ends an upload; the caller holds its lock. Its bytes go; the recording of a finished one stays.
   */
  async function cancel(id: string): Promise<void> {
    await finishing.get(id)?.catch(() => {})
    const open = await load(id)
    const { row } = open
    assertAlive(row)
    const wasOpen = isOpen(row)
    await db.write(
      db.orm
        .update(uploads)
        .set({ state: 'terminated' })
        .where(and(eq(uploads.id, id), inArray(uploads.state, [...OPEN_STATES, 'finished']))),
      ...chunksGo(row),
    )
    row.state = 'terminated'
    unfinished.delete(id)
    if (!wasOpen) return
    space.release(id)
    await discardBytes(row)
    events.uploadTerminated({ uploadId: id, leadId: row.leadId, callerId: row.callerId })
  }

  /**
   * Ends an upload that has been silent for too long, and removes its bytes. One that has moved on is left alone, and so
   * is one that is whole, unless its finish was refused.
   *
   * @returns whether it was ended
   */
  const expire = (id: string): Promise<boolean> => using(id, expireOpen)

  async function expireOpen(open: Open): Promise<boolean> {
    const { row } = open
    const silentSinceMs = clock.now() - limits.expiresAfterMs
    if (!isOpen(row) || open.users > 1 || row.lastByteAtMs > silentSinceMs) return false
    if (isWhole(row) && !open.refused) return false
    const [changed] = await db.write(
      db.orm
        .update(uploads)
        .set({ state: 'expired' })
        .where(
          and(
            eq(uploads.id, row.id),
            inArray(uploads.state, [...OPEN_STATES]),
            lte(uploads.lastByteAtMs, silentSinceMs),
          ),
        ),
    )
    if (changed === 0) return false
    await db.write(...chunksGo(row))
    row.state = 'expired'
    space.release(row.id)
    await discardBytes(row)
    events.uploadExpired({ uploadId: row.id, leadId: row.leadId, offset: row.offset })
    return true
  }

  /**
   * The uploads table as the configstore of @tus/file-store: what it gets is what a client may see, what it sets is a
   * length declared late, what it deletes is terminated. Rows themselves are made by `begin`.
   */
  const configstore: KvStore<Upload> = {
    get: async (id) => asUpload(await look(id)),
    set: async (id, upload) => {
      const { row } = await load(id)
      if (upload.size !== undefined && row.length === null) await declareLength(id, upload.size)
    },
    delete: cancel,
  }
  const staging = parts.staging(configstore)

  return {
    staging,
    begin,
    find,
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
    cancel,
    expire,
    /** Whole uploads whose finish failed in this process. */
    unfinished: unfinished as ReadonlySet<string>,
    /** From now on nothing begins or goes on coming in; what came is kept, and what is whole is finished. */
    drain() {
      draining = true
      staging.stop()
    },
    isDraining: () => draining,
    /** Resolves when no finish is under way. */
    async settled(): Promise<void> {
      while (finishing.size > 0) await Promise.allSettled(finishing.values())
    },
    /** When an unfinished upload expires if no byte comes any more, in milliseconds since the epoch. */
    expiresAtMs: (row: UploadRow) => row.lastByteAtMs + limits.expiresAfterMs,
  }
}

const asUpload = (row: UploadRow) =>
  new Upload({
    id: row.id,
    offset: row.offset,
    metadata: row.metadata === null ? undefined : Metadata.parse(row.metadata),
    ...(row.length !== null && { size: row.length }),
    creation_date: new Date(row.createdAtMs).toISOString(),
  })

const shuttingDown = () =>
  new ServiceError('shutting_down', 'The service is restarting; what came is kept. Try again shortly.', {
    headers: { 'Retry-After': '2', Connection: 'close' },
  })
const underKey = ({ caller, leadId }: UploadIntent, { key }: Idempotency) =>
  and(eq(uploads.callerId, caller.id), eq(uploads.leadId, leadId), eq(uploads.idempotencyKey, key))

const closed = () => new ServiceError('upload_closed', 'This upload takes no more bytes.')

const empty = () => new ServiceError('empty_upload', 'A recording has at least one byte.')

const tooLarge = (maxBytes: number) => new ServiceError('too_large', `An upload may have ${maxBytes} bytes at most.`)

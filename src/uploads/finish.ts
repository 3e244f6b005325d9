/**
 * Finishing an upload: the one step that turns staged bytes into a recording.
 *
 * All doors end here. It needs no lock: it is safe to call again, at once from several sides, and after a crash at any
 * point, since the key that a recording will lie under is in the upload's row before a byte moves, and the recording's
 * row is unique by its upload. Knows the database, the staging and the library; knows nothing of HTTP.
 */
import { randomBytes } from 'node:crypto'
import { attemptAnnounced, attemptGone } from '../db/attempts.ts'
import { must, type Statement, UniqueViolation } from '../db/database.ts'
import { recordingAdded, sha256ById } from '../db/recordings.ts'
import type { Recording } from '../db/schema.ts'
import { segmentsDropped } from '../db/segments.ts'
import { uploadById, uploadFinished } from '../db/uploads.ts'
import { asServiceError, isRefusal, passing, ServiceError } from '../errors.ts'
import { newId } from '../ids.ts'
import { leadFor, stillMay } from '../leads/rights.ts'
import type { BytesReader } from '../storage/bytes.ts'
import { sha256Of } from '../storage/digest.ts'
import { timed } from '../timing.ts'
import { commitOffset } from './commit.ts'
import type { Ground } from './core.ts'
import type { Ends } from './end.ts'
import { change, type Owned, type Row } from './ownership.ts'
import { assemble, isFinal, partIdsOf } from './parts.ts'
import { closed, isOpen, isWhole } from './upload.ts'
import { assertUsable, bytesMissing } from './usable.ts'

/** A finished upload. */
export interface Finished {
  upload: Row
  recordingId: string
  /** As it was written, where this finish has made it; undefined where it was there, and may have been deleted since. */
  recording: Recording | undefined
}

type Parts = Ground & { readonly ends: Ends }

export class Finishes {
  readonly #parts: Parts
  readonly #running = new Map<string, Promise<Finished>>()
  readonly #unfinished = new Set<string>()
  readonly #discarding = new Set<Promise<void>>()

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /** Whole uploads whose finish failed in this process: the sweep tries them again. */
  get unfinished(): ReadonlySet<string> {
    return this.#unfinished
  }

  /**
   * Turns a whole upload into its recording, once.
   *
   * @throws ServiceError `incomplete_upload`; 403 when its caller has lost the lead; 404 when the call has moved; 409
   *   while it is being ended; 410; 503 or 507 when it must be tried again: the bytes stay, and so does the key
   */
  finish(id: string): Promise<Finished> {
    const running = this.#running.get(id)
    if (running !== undefined) return running
    const { seals, ownership } = this.#parts
    const promise = seals
      .hold(id, () => ownership.using(id, (owned) => this.#finishOnce(owned)))
      .finally(() => this.#running.delete(id))
    this.#running.set(id, promise)
    return promise
  }

  async #finishOnce(owned: Owned): Promise<Finished> {
    const { row } = owned
    const { id } = row
    this.#unfinished.delete(id)
    if (row.recordingId !== null) {
      return { upload: row, recordingId: row.recordingId, recording: undefined }
    }
    assertUsable(this.#parts, owned)
    if (!isWhole(row)) throw new ServiceError('incomplete_upload', 'Bytes of this upload are missing.')
    try {
      return await timed('finish', () => this.#turnIntoRecording(owned))
    } catch (error) {
      const told = asServiceError(error)
      // Asked again, a database that was busy for so long would let the client wait for twice as long.
      if (told.code !== 'busy') await this.#rememberWhole(owned)
      if (isRefusal(told)) throw told
      this.#unfinished.add(id)
      this.#parts.events.finishFailed({ uploadId: id, leadId: row.leadId, err: error })
      throw told.status === 500
        ? passing('finish_failed', 'The upload is whole but could not be stored yet.', error)
        : told
    }
  }

  async #turnIntoRecording(owned: Owned): Promise<Finished> {
    const { db, staging, ends, clock, step } = this.#parts
    const { row } = owned
    const size = row.length as number
    const { callLogId, filename, key } = row
    if (callLogId === null || filename === null || key === null)
      throw new Error(`upload ${row.id} is whole but names no call`)
    // Rights may have moved while the bytes came: ask again, and once more when it is written.
    const lead = await leadFor(db, { id: row.callerId, role: row.callerRole }, row.leadId, 'upload')
    step('rights-checked')
    if (isFinal(row) && !staging.segmented) await this.#gather(owned, key, size)
    const path = await this.#placeFor(row.id, key)
    const { sha256, media } = await this.#examine(owned, key, size, filename)
    step('examined')
    if (row.expectedSha256 !== null && sha256 !== row.expectedSha256) {
      await ends.reject(owned)
      throw new ServiceError('checksum_mismatch', 'The bytes are not those that were promised; start a new upload.')
    }
    await owned.staged.moveTo(path)
    step('moved')
    const recording: Recording = {
      id: newId(),
      uploadId: row.id,
      leadId: row.leadId,
      callLogId,
      telecallerId: lead.telecallerId,
      filename,
      path,
      contentType: media.contentType,
      size,
      sha256,
      durationSeconds: media.durationSeconds,
      mediaCheck: media.mediaCheck,
      playsInBrowsers: media.playsInBrowsers,
      createdAtMs: clock.now(),
    }
    const finished = await this.#record(owned, recording)
    step('recorded')
    return finished
  }

  /**
   * Where the recording will lie. Objects are written by finishes that may race each other: the key of each is its own, and
   * is written down before a byte lies there.
   */
  async #placeFor(uploadId: string, key: string): Promise<string> {
    if (!this.#parts.staging.segmented) return key
    const attempt = { uploadId, key: attemptOf(key) }
    await this.#parts.db.write(attemptAnnounced(attempt))
    return attempt.key
  }

  /** Makes one file of a final upload's parts. @throws ServiceError `upload_expired` when bytes are gone */
  async #gather(owned: Owned, key: string, size: number): Promise<void> {
    const { library, space, ownership, step } = this.#parts
    const gathered = await ownership.usingAll(partIdsOf(owned.row), (all) => {
      const parts = all.map(({ staged, row }) => ({ staged, size: row.length as number }))
      return assemble(owned.staged, parts, step)
    })
    if (!gathered && (await library.sizeOf(key)) !== size) throw bytesMissing(this.#parts, owned)
    space.arrived(owned.row.id, size)
  }

  /** What the bytes are, wherever a failed finish has left them. */
  async #examine(owned: Owned, key: string, size: number, filename: string) {
    const { library } = this.#parts
    const { row, staged } = owned
    const there = staged.sizeAtHand() ?? (await staged.size())
    const isMoved = there === undefined && !this.#parts.staging.segmented
    if (there !== size && !isMoved) throw bytesMissing(this.#parts, owned)
    const reader = isMoved ? library.reader(key) : staged.reader()
    try {
      const sha256 = isMoved ? await sha256Of(reader.read, size) : undefined
      const media = await this.#inspect(row, reader, size, filename)
      return { sha256: sha256 ?? (await staged.sha256(size)), media }
    } finally {
      await reader.close()
    }
  }

  async #inspect(row: Row, file: BytesReader, size: number, filename: string) {
    const { inspector, events } = this.#parts
    const { givenUp, ...media } = await timed('inspection', () => inspector.inspect(file, size, filename))
    if (givenUp) {
      const { reason, cause } = givenUp
      events.mediaGivenUp({
        uploadId: row.id,
        leadId: row.leadId,
        size,
        reason,
        ...(cause !== undefined && { err: cause }),
      })
    }
    return media
  }

  /**
   * The one transaction: the recording is there, and its upload is finished; or neither. That the upload is still open,
   * its lead still its caller's and its call still one with the lead are conditions of it.
   */
  async #record(owned: Owned, recording: Recording): Promise<Finished> {
    const { db, staging, space, events, clock, ownership } = this.#parts
    const { row } = owned
    const { id } = row
    const caller = { id: row.callerId, role: row.callerRole }
    // It is remembered from now on, however long its finish took.
    const lastByteAtMs = clock.now()
    const changes = { offset: recording.size, lastByteAtMs, recordingId: recording.id }
    try {
      await db.write(
        stillMay({ caller, act: 'upload', leadId: row.leadId, callLogId: recording.callLogId }),
        recordingAdded(recording, (decided) => Object.assign(recording, decided)),
        must(uploadFinished({ id, expected: owned.savedOffset, ...changes }), closed),
        ...this.#stagedGone(recording),
        ...ownership.ended(owned),
      )
    } catch (error) {
      return this.#recordedElsewhere(owned, recording, error)
    }
    change(owned, { state: 'finished', ...changes })
    owned.savedOffset = recording.size
    space.release(id)
    if (staging.segmented) this.#discard(owned)
    events.uploadFinished({
      uploadId: id,
      leadId: row.leadId,
      callLogId: recording.callLogId,
      recordingId: recording.id,
      size: recording.size,
    })
    return { upload: owned.row, recordingId: recording.id, recording }
  }

  /** What told of the bytes on their way tells of nothing any more. */
  #stagedGone({ uploadId, path }: Recording): Statement[] {
    if (!this.#parts.staging.segmented) return []
    return [segmentsDropped(uploadId), attemptGone({ uploadId, key: path })]
  }

  /** The bytes of an attempt that came to nothing go. Those that stay are named by its row, and the sweep removes them. */
  async #takeBack({ uploadId, path }: Recording): Promise<void> {
    const { db, staging, library } = this.#parts
    if (!staging.segmented) return
    try {
      await library.remove(path)
      await db.write(attemptGone({ uploadId, key: path }))
    } catch {
      // What became of the upload is known, and is no matter of the store's.
    }
  }

  /** After the answer. What can't be removed now, the sweep removes: no row names it. */
  #discard({ staged }: Owned): void {
    const discarding = staged
      .discard()
      .catch(() => staged.forget())
      .finally(() => this.#discarding.delete(discarding))
    this.#discarding.add(discarding)
  }

  /**
   * Another process of the operator's, or another instance, was faster.
   *
   * @throws ServiceError `upload_locked` where the upload is open still, with other bytes; the error where nothing has been
   *   recorded; `upload_closed` where the recording is of other bytes than these
   */
  async #recordedElsewhere(owned: Owned, recording: Recording, error: unknown): Promise<Finished> {
    const { db, staging, library, ownership } = this.#parts
    if (!(error instanceof UniqueViolation) && asServiceError(error).code !== 'upload_closed') throw error
    const stored = await uploadById(db, owned.row.id)
    if (!stored || isOpen(stored)) {
      ownership.forget(owned)
      await this.#takeBack(recording)
      throw stored && !(error instanceof UniqueViolation) ? movedOn() : error
    }
    change(owned, stored)
    owned.savedOffset = stored.offset
    const { recordingId } = stored
    if (staging.segmented) this.#discard(owned)
    // It was this one after all: whatever was told of its commit, its bytes are the recording's.
    if (recordingId === recording.id) return { upload: stored, recordingId, recording }
    if (staging.segmented) await this.#takeBack(recording)
    else if (recordingId === null) await library.remove(recording.path)
    if (recordingId === null) throw error
    const sha256 = await sha256ById(db, recordingId)
    if (sha256 !== undefined && sha256 !== recording.sha256) throw closed()
    return { upload: stored, recordingId, recording: undefined }
  }

  /** After a failed finish: the table learns that all bytes are here, so that a start in between finishes them. */
  async #rememberWhole(owned: Owned): Promise<void> {
    const { row, staged, savedOffset } = owned
    const isForgotten = this.#parts.ownership.remembered(row.id) !== owned
    if (savedOffset === row.offset || !isOpen(row) || isForgotten) return
    try {
      if ((await staged.size()) !== undefined) await staged.sync()
      await commitOffset(this.#parts, owned, row.offset)
    } catch {
      // The database is what failed. Memory knows, and if it goes too, the key in the row finds the bytes.
    }
  }

  /** Resolves when no finish is under way. */
  async settled(): Promise<void> {
    while (this.#running.size > 0) await Promise.allSettled(this.#running.values())
    await Promise.all(this.#discarding)
  }
}

/** Its bytes were never acknowledged: another instance has taken others in their place. */
const movedOn = () =>
  new ServiceError('upload_locked', 'The upload goes on elsewhere; ask again where it stands.', {
    headers: { 'Retry-After': '1' },
  })

/** A key like this one, for one attempt alone. */
const attemptOf = (key: string): string => key.replace(/_[0-9a-f]{12}(\.\w+)$/, `_${randomBytes(6).toString('hex')}$1`)

/**
 * Finishing an upload: the one step that turns staged bytes into a recording.
 *
 * All doors end here. It needs no lock: it is safe to call again, at once from several sides, and after a crash at any
 * point, since the key that a recording will lie under is in the upload's row before a byte moves, and the recording's
 * row is unique by its upload. Knows the database, the staging and the library; knows nothing of HTTP.
 */
import { must, UniqueViolation } from '../db/database.ts'
import { recordingAdded } from '../db/recordings.ts'
import type { Recording } from '../db/schema.ts'
import { uploadById, uploadFinished } from '../db/uploads.ts'
import { asServiceError, passing, ServiceError } from '../errors.ts'
import { newId } from '../ids.ts'
import { leadFor, stillMay } from '../leads/rights.ts'
import type { BytesReader } from '../storage/bytes.ts'
import { sha256Of } from '../storage/digest.ts'
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
      return await this.#turnIntoRecording(owned)
    } catch (error) {
      const told = asServiceError(error)
      // Asked again, a database that was busy for so long would let the client wait for twice as long.
      if (told.code !== 'busy') await this.#rememberWhole(owned)
      owned.refused = told.status < 500
      if (owned.refused) throw told
      this.#unfinished.add(id)
      this.#parts.events.finishFailed({ uploadId: id, leadId: row.leadId, err: error })
      throw told.status === 500
        ? passing('finish_failed', 'The upload is whole but could not be stored yet.', error)
        : told
    }
  }

  async #turnIntoRecording(owned: Owned): Promise<Finished> {
    const { db, ends, clock, step } = this.#parts
    const { row } = owned
    const size = row.length as number
    const { callLogId, filename, key } = row
    if (callLogId === null || filename === null || key === null)
      throw new Error(`upload ${row.id} is whole but names no call`)
    // Rights may have moved while the bytes came: ask again, and once more when it is written.
    const lead = await leadFor(db, { id: row.callerId, role: row.callerRole }, row.leadId, 'upload')
    step('rights-checked')
    if (isFinal(row)) await this.#gather(owned, key, size)
    const { sha256, media } = await this.#examine(owned, key, size, filename)
    step('examined')
    if (row.expectedSha256 !== null && sha256 !== row.expectedSha256) {
      await ends.reject(owned)
      throw new ServiceError('checksum_mismatch', 'The bytes are not those that were promised; start a new upload.')
    }
    await owned.staged.moveTo(key)
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
      playsInBrowsers: media.playsInBrowsers,
      createdAtMs: clock.now(),
    }
    const finished = await this.#record(owned, recording)
    step('recorded')
    return finished
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
    if (there !== undefined && there !== size) throw bytesMissing(this.#parts, owned)
    const reader = there === undefined ? library.reader(key) : staged.reader()
    try {
      const sha256 = there === undefined ? await sha256Of(reader.read, size) : undefined
      const media = await this.#inspect(row, reader, size, filename)
      return { sha256: sha256 ?? (await staged.sha256(size)), media }
    } finally {
      await reader.close()
    }
  }

  async #inspect(row: Row, file: BytesReader, size: number, filename: string) {
    const { inspector, events } = this.#parts
    const { givenUp, ...media } = await inspector.inspect(file, size, filename)
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
    const { db, space, events, clock, ownership } = this.#parts
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
        ...ownership.ended(owned),
      )
    } catch (error) {
      return this.#recordedElsewhere(owned, recording, error)
    }
    change(owned, { state: 'finished', ...changes })
    owned.savedOffset = recording.size
    space.release(id)
    events.uploadFinished({
      uploadId: id,
      leadId: row.leadId,
      callLogId: recording.callLogId,
      recordingId: recording.id,
      size: recording.size,
    })
    return { upload: owned.row, recordingId: recording.id, recording }
  }

  /** Another process of the operator's was faster. @throws the error where that is not so */
  async #recordedElsewhere(owned: Owned, recording: Recording, error: unknown): Promise<Finished> {
    const { db, library, ownership } = this.#parts
    if (!(error instanceof UniqueViolation) && asServiceError(error).code !== 'upload_closed') throw error
    const stored = await uploadById(db, owned.row.id)
    if (!stored || isOpen(stored)) {
      ownership.forget(owned)
      throw error
    }
    change(owned, stored)
    owned.savedOffset = stored.offset
    if (stored.recordingId !== null) return { upload: stored, recordingId: stored.recordingId, recording: undefined }
    await library.remove(recording.path)
    throw error
  }

  /** After a failed finish: the table learns that all bytes are here, so that a start in between finishes them. */
  async #rememberWhole(owned: Owned): Promise<void> {
    const { row, staged, savedOffset } = owned
    if (savedOffset === row.offset || !isOpen(row)) return
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
  }
}

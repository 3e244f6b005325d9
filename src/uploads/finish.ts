/**
 * Finishing an upload: the one step that turns staged bytes into a recording.
 *
 * All doors end here. It needs no lock: it is safe to call again, at once from several sides, and after a crash at any
 * point, since the key that a recording will lie under is in the upload's row before a byte moves, and the recording's
 * row is unique by its upload. Knows the database, the staging and the library; knows nothing of HTTP.
 */
import type { Clock } from '../clock.ts'
import { type Database, must, UniqueViolation } from '../db/database.ts'
import { recordingAdded } from '../db/recordings.ts'
import type { Recording, UploadRow } from '../db/schema.ts'
import { uploadFinished } from '../db/uploads.ts'
import { asServiceError, passing, ServiceError } from '../errors.ts'
import type { Events } from '../events.ts'
import { newId } from '../ids.ts'
import { leadFor, stillMay } from '../leads/rights.ts'
import type { Inspector } from '../media/inspect.ts'
import type { BytesReader } from '../storage/bytes.ts'
import { sha256Of } from '../storage/digest.ts'
import type { Library } from '../storage/library.ts'
import type { Space } from '../storage/space.ts'
import type { Ends } from './end.ts'
import { assemble, isFinal, partIdsOf } from './parts.ts'
import type { Open, Register } from './register.ts'
import type { Seals } from './seals.ts'
import { closed, isOpen, isWhole } from './upload.ts'

/** A finished upload. */
export interface Finished {
  upload: UploadRow
  recordingId: string
  /** As it was written, where this finish has made it; undefined where it was there, and may have been deleted since. */
  recording: Recording | undefined
}

interface Parts {
  db: Database
  library: Library
  space: Space
  inspector: Inspector
  register: Register
  seals: Seals
  ends: Ends
  events: Events
  clock: Clock
  /** Called at each named step. */
  step: (name: string) => void
}

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
    const { seals, register } = this.#parts
    const promise = seals
      .hold(id, () => register.using(id, (open) => this.#finishOnce(open)))
      .finally(() => this.#running.delete(id))
    this.#running.set(id, promise)
    return promise
  }

  async #finishOnce(open: Open): Promise<Finished> {
    const { register, events } = this.#parts
    const { row } = open
    const { id } = row
    this.#unfinished.delete(id)
    if (row.recordingId !== null) {
      return { upload: row, recordingId: row.recordingId, recording: undefined }
    }
    register.assertUsable(open)
    if (!isWhole(row)) throw new ServiceError('incomplete_upload', 'Bytes of this upload are missing.')
    try {
      return await this.#turnIntoRecording(open)
    } catch (error) {
      const told = asServiceError(error)
      // Asked again, a database that was busy for so long would let the client wait for twice as long.
      if (told.code !== 'busy') await this.#rememberWhole(open)
      open.refused = told.status < 500
      if (open.refused) throw told
      this.#unfinished.add(id)
      events.finishFailed({ uploadId: id, leadId: row.leadId, err: error })
      throw told.status === 500
        ? passing('finish_failed', 'The upload is whole but could not be stored yet.', error)
        : told
    }
  }

  async #turnIntoRecording(open: Open): Promise<Finished> {
    const { db, ends, clock, step } = this.#parts
    const { row } = open
    const size = row.length as number
    const { callLogId, filename, key } = row
    if (callLogId === null || filename === null || key === null)
      throw new Error(`upload ${row.id} is whole but names no call`)
    // Rights may have moved while the bytes came: ask again, and once more when it is written.
    const lead = await leadFor(db, { id: row.callerId, role: row.callerRole }, row.leadId, 'upload')
    step('rights-checked')
    if (isFinal(row)) await this.#gather(open, key, size)
    const { sha256, media } = await this.#examine(open, key, size, filename)
    step('examined')
    if (row.expectedSha256 !== null && sha256 !== row.expectedSha256) {
      await ends.reject(open)
      throw new ServiceError('checksum_mismatch', 'The bytes are not those that were promised; start a new upload.')
    }
    await open.staged.moveTo(key)
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
    const finished = await this.#record(open, recording)
    step('recorded')
    return finished
  }

  /** Makes one file of a final upload's parts. @throws ServiceError `upload_expired` when bytes are gone */
  async #gather({ row, staged }: Open, key: string, size: number): Promise<void> {
    const { library, space, register, step } = this.#parts
    const opens = await Promise.all(partIdsOf(row).map((id) => register.load(id)))
    const parts = opens.map((part) => ({ staged: part.staged, size: part.row.length as number }))
    const gathered = await assemble(staged, parts, step)
    if (!gathered && (await library.sizeOf(key)) !== size) throw register.bytesMissing(row)
    space.arrived(row.id, size)
  }

  /** What the bytes are, wherever a failed finish has left them. */
  async #examine({ row, staged }: Open, key: string, size: number, filename: string) {
    const { library, register } = this.#parts
    const there = staged.sizeAtHand() ?? (await staged.size())
    if (there !== undefined && there !== size) throw register.bytesMissing(row)
    const reader = there === undefined ? library.reader(key) : staged.reader()
    try {
      const sha256 = there === undefined ? await sha256Of(reader.read, size) : undefined
      const media = await this.#inspect(row, reader, size, filename)
      return { sha256: sha256 ?? (await staged.sha256(size)), media }
    } finally {
      await reader.close()
    }
  }

  async #inspect(row: UploadRow, file: BytesReader, size: number, filename: string) {
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
  async #record(open: Open, recording: Recording): Promise<Finished> {
    const { db, space, events, clock } = this.#parts
    const { row } = open
    const caller = { id: row.callerId, role: row.callerRole }
    // It is remembered from now on, however long its finish took.
    const lastByteAtMs = clock.now()
    try {
      await db.write(
        stillMay({ caller, act: 'upload', leadId: row.leadId, callLogId: recording.callLogId }),
        recordingAdded(recording, (decided) => Object.assign(recording, decided)),
        must(uploadFinished({ id: row.id, offset: recording.size, lastByteAtMs, recordingId: recording.id }), closed),
      )
    } catch (error) {
      return this.#recordedElsewhere(open, recording, error)
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
    return { upload: row, recordingId: recording.id, recording }
  }

  /** Another process of the operator's was faster. @throws the error where that is not so */
  async #recordedElsewhere(open: Open, recording: Recording, error: unknown): Promise<Finished> {
    const { library, register } = this.#parts
    if (!(error instanceof UniqueViolation) && asServiceError(error).code !== 'upload_closed') throw error
    const { row } = open
    const stored = await register.stored(row.id)
    if (!stored || isOpen(stored)) throw error
    Object.assign(row, stored)
    open.savedOffset = stored.offset
    if (stored.recordingId !== null) return { upload: row, recordingId: stored.recordingId, recording: undefined }
    await library.remove(recording.path)
    throw error
  }

  /** After a failed finish: the table learns that all bytes are here, so that a start in between finishes them. */
  async #rememberWhole(open: Open): Promise<void> {
    const { register } = this.#parts
    if (open.savedOffset === open.row.offset || !isOpen(open.row)) return
    try {
      if ((await open.staged.size()) !== undefined) await open.staged.sync()
      await register.saveOffset(open, open.row.offset)
    } catch {
      // The database is what failed. Memory knows, and if it goes too, the key in the row finds the bytes.
    }
  }

  /** Resolves when no finish is under way. */
  async settled(): Promise<void> {
    while (this.#running.size > 0) await Promise.allSettled(this.#running.values())
  }
}

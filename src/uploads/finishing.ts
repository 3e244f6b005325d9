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
import type { Inspector, MediaFile } from '../media/inspect.ts'
import { sha256Of } from '../storage/digest.ts'
import type { Library } from '../storage/disk/library.ts'
import type { Staging } from '../storage/disk/staging.ts'
import type { Space } from '../storage/space.ts'
import { assemble, isFinal, partIdsOf } from './concatenation.ts'
import type { Ends } from './end.ts'
import type { Open, Register } from './register.ts'
import type { Seals } from './seal.ts'
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
  staging: Staging
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

export type Finishing = ReturnType<typeof createFinishing>

export function createFinishing(parts: Parts) {
  const { db, staging, library, space, inspector, register, seals, ends, events, clock, step } = parts
  const finishing = new Map<string, Promise<Finished>>()
  /** Whole uploads whose finish failed: the sweep tries them again. */
  const unfinished = new Set<string>()

  /**
   * Turns a whole upload into its recording, once.
   *
   * @throws ServiceError `incomplete_upload`; 403 when its caller has lost the lead; 404 when the call has moved; 409
   *   while it is being ended; 410; 503 or 507 when it must be tried again: the bytes stay, and so does the key
   */
  function finish(id: string): Promise<Finished> {
    const running = finishing.get(id)
    if (running) return running
    const promise = seals.hold(id, () => register.using(id, finishOnce)).finally(() => finishing.delete(id))
    finishing.set(id, promise)
    return promise
  }

  async function finishOnce(open: Open): Promise<Finished> {
    const { row } = open
    const { id } = row
    unfinished.delete(id)
    if (row.state === 'finished' && row.recordingId !== null) {
      return { upload: row, recordingId: row.recordingId, recording: undefined }
    }
    register.assertUsable(open)
    if (!isWhole(row)) throw new ServiceError('incomplete_upload', 'Bytes of this upload are missing.')
    try {
      return await turnIntoRecording(open)
    } catch (error) {
      const told = asServiceError(error)
      // Asked again, a database that was busy for so long would let the client wait for twice as long.
      if (told.code !== 'busy') await rememberWhole(open)
      open.refused = told.status < 500
      if (open.refused) throw told
      unfinished.add(id)
      events.finishFailed({ uploadId: id, leadId: row.leadId, err: error })
      throw told.status === 500
        ? passing('finish_failed', 'The upload is whole but could not be stored yet.', error)
        : told
    }
  }

  async function turnIntoRecording(open: Open): Promise<Finished> {
    const { row } = open
    const size = row.length as number
    const { callLogId, filename, key } = row
    if (callLogId === null || filename === null || key === null)
      throw new Error(`upload ${row.id} is whole but names no call`)
    // Rights may have moved while the bytes came: ask again, and once more when it is written.
    const lead = await leadFor(db, { id: row.callerId, role: row.callerRole }, row.leadId, 'upload')
    step('rights-checked')
    if (isFinal(row)) await gather(row, key, size)
    const { sha256, media } = await examine(row, key, size, filename)
    step('examined')
    if (row.expectedSha256 !== null && sha256 !== row.expectedSha256) {
      await ends.reject(open)
      throw new ServiceError('checksum_mismatch', 'The bytes are not those that were promised; start a new upload.')
    }
    // Whoever has to go on from here finds the bytes in the library, and nothing of them in memory.
    staging.forget(row.id)
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
      playsInBrowsers: media.playsInBrowsers,
      createdAtMs: clock.now(),
    }
    const finished = await record(open, recording)
    step('recorded')
    return finished
  }

  /** Makes one file of a final upload's parts. @throws ServiceError `upload_expired` when bytes are gone */
  async function gather(row: UploadRow, key: string, size: number): Promise<void> {
    const rows = await Promise.all(partIdsOf(row.concat).map(async (id) => (await register.load(id)).row))
    const parts = rows.map(({ id, length }) => ({ id, size: length as number }))
    const gathered = await assemble(staging, row.id, parts, step)
    if (!gathered && (await library.sizeOf(key)) !== size) throw register.bytesMissing(row)
    space.arrived(row.id, size)
  }

  /** What the bytes are, wherever a failed finish has left them. */
  async function examine(row: UploadRow, key: string, size: number, filename: string) {
    const staged = staging.passed(row.id) ?? (await staging.sizeOf(row.id))
    if (staged !== undefined && staged !== size) throw register.bytesMissing(row)
    if (staged === undefined) {
      const handle = await library.open(key)
      try {
        const read = async (position: number, length: number) => {
          const buffer = Buffer.allocUnsafe(length)
          const { bytesRead } = await handle.read(buffer, 0, length, position)
          return buffer.subarray(0, bytesRead)
        }
        const sha256 = await sha256Of(read, size)
        return { sha256, media: await inspect(row, { path: library.pathOf(key), read }, size, filename) }
      } finally {
        await handle.close()
      }
    }
    const reader = staging.reader(row.id)
    try {
      const media = await inspect(row, { path: staging.pathOf(row.id), read: reader.read }, size, filename)
      return { sha256: await staging.sha256(row.id, size), media }
    } finally {
      await reader.close()
    }
  }

  async function inspect(row: UploadRow, file: MediaFile, size: number, filename: string) {
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
  async function record(open: Open, recording: Recording): Promise<Finished> {
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
      if (!(error instanceof UniqueViolation) && asServiceError(error).code !== 'upload_closed') throw error
      // Another process of the operator's was faster.
      const stored = await register.stored(row.id)
      if (!stored || isOpen(stored)) throw error
      Object.assign(row, stored)
      open.savedOffset = stored.offset
      if (stored.recordingId !== null) return { upload: row, recordingId: stored.recordingId, recording: undefined }
      await library.remove(recording.path)
      throw error
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

  /** After a failed finish: the table learns that all bytes are here, so that a start in between finishes them. */
  async function rememberWhole(open: Open): Promise<void> {
    if (open.savedOffset === open.row.offset || !isOpen(open.row)) return
    try {
      if ((await staging.sizeOf(open.row.id)) !== undefined) await staging.sync(open.row.id)
      await register.saveOffset(open, open.row.offset)
    } catch {
      // The database is what failed. Memory knows, and if it goes too, the key in the row finds the bytes.
    }
  }

  return {
    finish,
    /** Whole uploads whose finish failed in this process. */
    unfinished: unfinished as ReadonlySet<string>,
    /** Resolves when no finish is under way. */
    async settled(): Promise<void> {
      while (finishing.size > 0) await Promise.allSettled(finishing.values())
    },
  }
}

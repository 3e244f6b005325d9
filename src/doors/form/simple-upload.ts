/**
 * The simple door: one file in one form, taken in as it comes and finished when the form has ended.
 *
 * The file comes before the fields that say what it is of, so its upload begins without a call. The upload
 * ends with its request: one that is refused or cut leaves no bytes and no open upload behind.
 */
import { createHash } from 'node:crypto'
import { z } from 'zod'
import type { Database } from '../../db/database.ts'
import type { Recording } from '../../db/schema.ts'
import { asServiceError, ServiceError, shuttingDown } from '../../errors.ts'
import { callLogOf } from '../../leads/routes.ts'
import { recordingOf } from '../../recordings/recordings.ts'
import { otherRequest } from '../../uploads/idempotency.ts'
import type { Ingest } from '../../uploads/ingest.ts'
import type { Ownership } from '../../uploads/ownership.ts'
import { isWhole } from '../../uploads/upload.ts'
import { baseName, checkFilename } from '../filename.ts'
import { cutOff } from '../pour.ts'
import { LineWatch } from './line-watch.ts'
import type { Sink } from './multipart.ts'
import { PieceStream } from './piece-stream.ts'
import { begin, type FileIntent, type Purpose } from './purpose.ts'

/** The fields beside the file. */
export const simpleForm = z.strictObject({ call_log_id: z.string().min(1, 'is empty') })

export interface SimpleParts {
  db: Database
  ingest: Ingest
  ownership: Ownership
  maxBytes: number
}

/** A file on its way in. */
export class SimpleUpload {
  /** Rejects as soon as the file is refused; never resolves. */
  readonly failed: Promise<never>
  readonly sink: Sink
  readonly #parts: SimpleParts
  readonly #intent: FileIntent
  readonly #stream = new PieceStream()
  readonly #digest = createHash('sha256')
  readonly #watch: LineWatch
  readonly #purpose: Promise<Purpose>
  readonly #received: Promise<void>
  #discarded: Promise<void> | undefined

  /** @throws ServiceError for a file name that is not taken */
  constructor(parts: SimpleParts, intent: FileIntent) {
    const filename = checkFilename(baseName(intent.filename))
    this.#parts = parts
    this.#intent = intent
    const { promise, reject: fail } = Promise.withResolvers<never>()
    this.failed = promise
    this.failed.catch(() => {})
    const stream = this.#stream
    // The file ends with its form: what of it is in memory may still be stored while fields are awaited.
    this.sink = { write: (piece) => stream.pushPiece(piece), end: () => {} }
    this.#watch = new LineWatch(intent.bytesCome, () => {
      stream.destroy()
      fail(cutOff())
    })
    // A repeat of the request waits: this one may be dead.
    this.#purpose = begin(parts, intent, filename, () => this.#watch.start())
    this.#received = this.#receive()
    this.#received.catch(fail)
  }

  async #receive(): Promise<void> {
    const { ingest, maxBytes } = this.#parts
    const to = await this.#purpose
    if ('recordingId' in to) {
      for await (const piece of this.#stream) this.#digest.update(piece as Buffer)
      return
    }
    const { end } = await ingest.append(to.uploadId, this.#stream, { maxBytes, allOrNothing: true })
    if (end === 'overrun') throw new ServiceError('too_large', `An upload may have ${maxBytes} bytes at most.`)
    if (end === 'stopped') throw shuttingDown()
    if (end !== 'all') throw cutOff()
  }

  /** The form has come whole: makes it the recording of a call. @throws ServiceError; nothing is left then */
  async complete(callLogId: string): Promise<Recording> {
    try {
      return await this.#finish(callLogId)
    } catch (error) {
      await this.#discard(error).catch(() => {})
      throw error
    }
  }

  /** Leaves nothing behind. */
  abort(): Promise<void> {
    return this.#discard().catch(() => {})
  }

  async #finish(callLogId: string): Promise<Recording> {
    this.#watch.stop()
    this.#stream.pushEnd()
    await this.#received
    const to = await this.#purpose
    const { db, ingest } = this.#parts
    const { lead } = this.#intent
    if ('recordingId' in to) {
      const recording = await recordingOf(db, lead.id, to.recordingId)
      if (recording.callLogId !== callLogId || recording.sha256 !== this.#digest.digest('hex')) throw otherRequest()
      return recording
    }
    const { offset } = await ingest.find(to.uploadId)
    if (offset === 0) throw new ServiceError('empty_upload', 'The file is empty.')
    await callLogOf(db, lead.id, callLogId)
    await ingest.seal(to.uploadId, { length: offset, callLogId })
    const { recording, recordingId } = await ingest.finish(to.uploadId)
    await to.unlock()
    return recording ?? recordingOf(db, lead.id, recordingId)
  }

  /** Ends what was begun, once; a whole upload under a key stays where only we failed: its repeat finds it. */
  #discard(error?: unknown): Promise<void> {
    this.#discarded ??= this.#discardOnce(error)
    return this.#discarded
  }

  async #discardOnce(error: unknown): Promise<void> {
    const { ingest } = this.#parts
    this.#watch.stop()
    this.#stream.destroy()
    await this.#received.catch(() => {})
    const to = await this.#purpose.catch(() => undefined)
    if (!to || !('unlock' in to)) return
    try {
      const row = await ingest.find(to.uploadId)
      const isKept = row.idempotencyKey !== null && isWhole(row) && asServiceError(error).status >= 500
      if (!isKept && row.state !== 'finished') await ingest.giveUp(to.uploadId, error)
    } finally {
      await to.unlock()
    }
  }
}

/**
 * The simple door: one file in one form, taken in as it comes and finished when the form has ended.
 *
 * The file comes before the fields that say what it is of, so its upload begins without a call. Nobody can go on with it
 * after its request: whatever refuses or cuts that leaves no bytes and no open upload behind.
 */
import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import type { Database } from '../../db/database.ts'
import type { Lead, Recording } from '../../db/schema.ts'
import { asServiceError, ServiceError, shuttingDown } from '../../errors.ts'
import { newId } from '../../ids.ts'
import type { Caller } from '../../leads/rights.ts'
import { callLogOf } from '../../leads/routes.ts'
import { recordingOf } from '../../recordings/recordings.ts'
import { idempotencyOf, otherRequest } from '../../uploads/idempotency.ts'
import type { Ingest } from '../../uploads/ingest.ts'
import type { UploadLocker } from '../../uploads/locker.ts'
import { isOpen, isWhole } from '../../uploads/upload.ts'
import { cutOff } from '../body.ts'
import { baseName, checkFilename } from '../filename.ts'
import type { Sink } from './multipart.ts'

/** A request whose repeat is waiting is given up for dead after so long without a byte. */
const SILENT_MS = 2_000
const HIGH_WATER_BYTES = 256 * 1024

export interface FileIntent {
  caller: Caller
  lead: Lead
  /** As the client named it. */
  filename: string
  /** The form's `Content-Length`. */
  expectedBytes: number | undefined
  idempotencyKey: string | string[] | undefined
  /** How many bytes the connection has brought: whether it is alive. */
  bytesCome(): number
  /** Aborts when the connection is gone. */
  signal: AbortSignal
}

/** A file on its way in. */
export interface Receiving {
  readonly sink: Sink
  /** Rejects as soon as the file is refused; never resolves. */
  readonly failed: Promise<never>
  /** The file has come whole: makes it the recording of a call. @throws ServiceError; nothing is left then */
  complete(callLogId: string): Promise<Recording>
  /** Leaves nothing behind. */
  abort(): Promise<void>
}

interface Parts {
  db: Database
  ingest: Ingest
  locker: UploadLocker
  maxBytes: number
}

/** What the bytes are for: an upload of their own, or a look at whether they are those of the first time. */
type Purpose = { uploadId: string; unlock(): Promise<void> } | { recordingId: string }

export type Simple = ReturnType<typeof createSimple>

export function createSimple({ db, ingest, locker, maxBytes }: Parts) {
  /** Begins the upload; or, for a key that is known, waits for the request that had it and tells what became of it. */
  async function begin(intent: FileIntent, filename: string, onWanted: () => void): Promise<Purpose> {
    const { caller, lead, expectedBytes, signal } = intent
    const idempotency = idempotencyOf(intent.idempotencyKey, ['simple', filename])
    for (;;) {
      const id = newId()
      const lock = locker.newLock(id)
      await lock.lock(signal, onWanted)
      try {
        const row = await ingest.begin({
          id,
          door: 'simple',
          caller,
          leadId: lead.id,
          filename,
          length: null,
          expectedBytes: expectedBytes === undefined ? undefined : Math.min(expectedBytes, maxBytes),
          idempotency,
        })
        if (row.id === id) return { uploadId: id, unlock: () => lock.unlock() }
        await lock.unlock()
        const recordingId = await locker.hold(row.id, signal, () => outcomeOf(row.id))
        if (recordingId !== undefined) return { recordingId }
      } catch (error) {
        await lock.unlock()
        throw error
      }
    }
  }

  /** The recording of an earlier request that has ended; one that ended without leaves nothing in the way. */
  async function outcomeOf(id: string): Promise<string | undefined> {
    const row = await ingest.find(id)
    if (row.state === 'finished' && row.recordingId !== null) return row.recordingId
    if (isWhole(row)) return (await ingest.finish(id)).recordingId
    if (isOpen(row)) await ingest.cancel(id)
    return undefined
  }

  function receive(intent: FileIntent): Receiving {
    const filename = checkFilename(baseName(intent.filename))
    let resume = () => {}
    let fail: (error: unknown) => void = () => {}
    const failed = new Promise<never>((_, reject) => {
      fail = reject
    })
    failed.catch(() => {})
    let watch: NodeJS.Timeout | undefined
    let isComing = true
    const stream = new Readable({
      highWaterMark: HIGH_WATER_BYTES,
      read: () => resume(),
      destroy(error, done) {
        resume()
        done(error)
      },
    })
    stream.on('error', () => {})

    /** A repeat of the request waits: this one may be dead. */
    function watchLine() {
      if (!isComing) return
      let bytes = intent.bytesCome()
      let sinceMs = performance.now()
      watch ??= setInterval(() => {
        const nowMs = performance.now()
        if (intent.bytesCome() !== bytes) {
          bytes = intent.bytesCome()
          sinceMs = nowMs
        } else if (nowMs - sinceMs > SILENT_MS) {
          stream.destroy()
          fail(cutOff())
        }
      }, SILENT_MS / 8)
    }
    function stopWatching() {
      isComing = false
      clearInterval(watch)
    }

    const purpose = begin(intent, filename, watchLine)
    const digest = createHash('sha256')
    const received = purpose.then(async (to) => {
      if ('recordingId' in to) {
        for await (const piece of stream) digest.update(piece as Buffer)
        return
      }
      const { end } = await ingest.append(to.uploadId, stream, { maxBytes, allOrNothing: true })
      if (end === 'overrun') throw new ServiceError('too_large', `An upload may have ${maxBytes} bytes at most.`)
      if (end === 'stopped') throw shuttingDown()
      if (end !== 'all') throw cutOff()
    })
    received.catch(fail)

    const sink: Sink = {
      write(piece) {
        if (stream.destroyed || stream.push(piece)) return undefined
        return new Promise((resolve) => {
          resume = resolve
        })
      },
      end() {
        stream.push(null)
        // An ended stream reads no more.
        resume()
      },
    }

    /** Ends what was begun, once; a whole upload under a key stays where only we failed: its repeat finds it. */
    let discarded: Promise<void> | undefined
    const discard = (error?: unknown): Promise<void> => {
      discarded ??= discardOnce(error)
      return discarded
    }
    async function discardOnce(error: unknown): Promise<void> {
      stopWatching()
      stream.destroy()
      await received.catch(() => {})
      const to = await purpose.catch(() => undefined)
      if (!to || !('unlock' in to)) return
      try {
        const row = await ingest.find(to.uploadId)
        const isKept = row.idempotencyKey !== null && isWhole(row) && asServiceError(error).status >= 500
        if (!isKept && row.state !== 'finished') await ingest.abandon(to.uploadId, error)
      } finally {
        await to.unlock()
      }
    }

    async function finish(callLogId: string): Promise<Recording> {
      stopWatching()
      await received
      const to = await purpose
      const { lead } = intent
      if ('recordingId' in to) {
        const recording = await recordingOf(db, lead.id, to.recordingId)
        if (recording.callLogId !== callLogId || recording.sha256 !== digest.digest('hex')) throw otherRequest()
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

    return {
      sink,
      failed,
      abort: () => discard().catch(() => {}),
      async complete(callLogId) {
        try {
          return await finish(callLogId)
        } catch (error) {
          await discard(error).catch(() => {})
          throw error
        }
      },
    }
  }

  return { receive }
}

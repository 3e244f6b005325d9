/**
 * What the bytes of a form's file are for: an upload of their own, or, under a key that has its recording, a look at
 * whether they are those of the first time.
 */
import type { Lead } from '../../db/schema.ts'
import { asServiceError } from '../../errors.ts'
import { newId } from '../../ids.ts'
import type { Caller } from '../../leads/rights.ts'
import { idempotencyOf } from '../../uploads/idempotency.ts'
import type { Ingest } from '../../uploads/ingest.ts'
import type { Ownership } from '../../uploads/ownership.ts'
import { onceUnsealed, Sealed } from '../../uploads/seals.ts'
import { isOpen, isWhole } from '../../uploads/upload.ts'

export type Purpose = { uploadId: string; unlock(): Promise<void> } | { recordingId: string }

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

interface Parts {
  ingest: Ingest
  ownership: Ownership
  maxBytes: number
}

/**
 * Begins the upload; or, for a key that is known, waits for the request that had it and tells what became of it.
 *
 * @param filename what the file is called with us
 * @param onWanted is told when a repeat of the request waits
 */
export async function begin(
  { ingest, ownership, maxBytes }: Parts,
  intent: FileIntent,
  filename: string,
  onWanted: () => void,
): Promise<Purpose> {
  const { caller, lead, expectedBytes, signal } = intent
  const idempotency = idempotencyOf(intent.idempotencyKey, ['simple', filename])
  for (;;) {
    const id = newId()
    const lock = ownership.newLock(id)
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
      // The sweep may be ending or finishing what a dead process has left: it takes no lock.
      const outcome = () => onceUnsealed(() => outcomeOf(ingest, row.id), signal)
      const recordingId = await ownership.hold(row.id, signal, outcome).catch(movedOn)
      if (recordingId !== undefined) return { recordingId }
    } catch (error) {
      await lock.unlock()
      throw error
    }
  }
}

/** Another instance has finished or ended it in the same moment: the table is asked again. @throws every other error */
function movedOn(error: unknown): undefined {
  if (error instanceof Sealed || asServiceError(error).code !== 'upload_closed') throw error
}

/** The recording of an earlier request that has ended; one that ended without leaves nothing in the way. */
async function outcomeOf(ingest: Ingest, id: string): Promise<string | undefined> {
  const row = await ingest.find(id)
  if (row.recordingId !== null) return row.recordingId
  if (isWhole(row)) return (await ingest.finish(id)).recordingId
  if (isOpen(row)) await ingest.cancel(id)
  return undefined
}

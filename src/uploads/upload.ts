/**
 * An upload as its row tells it: what it begins with, and what its state means.
 */
import { randomUUID } from 'node:crypto'
import type { UploadRow } from '../db/schema.ts'
import { UNTOUCHED_EXPIRES_AFTER_MS } from '../db/uploads.ts'
import { ServiceError } from '../errors.ts'
import type { Caller } from '../leads/rights.ts'
import type { Idempotency } from './idempotency.ts'
import type { Row } from './ownership.ts'
import { isPartial } from './parts.ts'

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
  /** Of a final upload: the ids of its parts, in their order. */
  partIds?: readonly string[]
  /** Of all bytes, in hex, as the client promises it. */
  expectedSha256?: string | null
  /** What will come at most, where only that is known: room is kept for it. */
  expectedBytes?: number | undefined
  /** The request that begins it brings bytes too: it gives way to no other meanwhile. */
  bytesFollow?: boolean
  /** What makes a repeat of the request give the upload that is there. */
  idempotency?: Idempotency | undefined
}

/** It may still become a recording. */
export const isOpen = (row: Pick<UploadRow, 'state'>) => row.state === 'receiving' || row.state === 'finishing'

export const hasAllBytes = (row: Row) => row.length !== null && row.offset === row.length

/** All bytes of the upload are here, and it waits for its finish; a partial one waits for its final one. */
export const isWhole = (row: Row) => isOpen(row) && hasAllBytes(row) && !isPartial(row)

const isUntouched = (row: Row) => row.offset === 0 && row.lastByteAtMs === row.createdAtMs && !hasAllBytes(row)

/** When an upload that is not whole expires if no byte comes any more, in milliseconds since the epoch. */
export const expiryOf = (row: Row, expiresAfterMs: number): number =>
  row.lastByteAtMs + (isUntouched(row) ? Math.min(UNTOUCHED_EXPIRES_AFTER_MS, expiresAfterMs) : expiresAfterMs)

/** `LEAD/CALLLOG_20261122T071530Z_1f0c5d7a9b2e.ext`: unique, readable for an operator, safe on any file system. */
export function keyFor(row: Row, callLogId: string, atMs: number): string {
  const timestamp = new Date(atMs).toISOString().replace(/[-:]|\.\d+/g, '')
  const extension = /\.([A-Za-z0-9]{1,8})$/.exec(row.filename ?? '')?.[1]?.toLowerCase() ?? 'bin'
  return `${row.leadId}/${callLogId}_${timestamp}_${randomUUID().slice(-12)}.${extension}`
}

export function newRow(intent: UploadIntent, atMs: number): UploadRow {
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
    partIds: intent.partIds?.join(',') ?? null,
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

export const closed = () => new ServiceError('upload_closed', 'This upload takes no more bytes.')

export const emptyUpload = () => new ServiceError('empty_upload', 'A recording has at least one byte.')

export const tooLarge = (maxBytes: number) =>
  new ServiceError('too_large', `An upload may have ${maxBytes} bytes at most.`)

/** What the upload's bytes may take on the disks. */
export const roomFor = ({ id, callerId, offset }: Row, length: number) => ({ id, callerId, length, offset })

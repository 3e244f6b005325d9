/**
 * The beginning of an upload by tus: what a creation must promise before a byte is sent, and the row it makes
 * (§ Creation).
 */
import { ServiceError } from '../../errors.ts'
import { callLogOf } from '../../leads/routes.ts'
import { idempotencyOf } from '../../uploads/idempotency.ts'
import type { Row } from '../../uploads/ownership.ts'
import { baseName, checkFilename } from '../filename.ts'
import type { Context, TusParts } from './context.ts'
import { type Creation, hasBody, promisedSha256, textOf } from './headers.ts'

/** What a creation says of the recording it is for. @throws ServiceError 400, 404 or 415 */
export async function promised({ db }: TusParts, { req, lead }: Context, { metadata }: Creation) {
  const filename = textOf(metadata, 'filename')
  const callLogId = textOf(metadata, 'call_log_id')
  if (!filename) throw new ServiceError('missing_parameter', 'Upload-Metadata names no filename.')
  if (!callLogId) throw new ServiceError('missing_parameter', 'Upload-Metadata names no call_log_id.')
  const name = checkFilename(baseName(filename))
  const expectedSha256 = promisedSha256(req.headers, metadata)
  await callLogOf(db, lead.id, callLogId)
  return { callLogId, filename: name, expectedSha256 }
}

export const intentOf = ({ caller, lead, creation }: Context, id: string) => ({
  id,
  door: 'tus' as const,
  caller,
  leadId: lead.id,
  metadata: creation?.metadataHeader ?? null,
  length: null,
})

/** Records a new upload. @throws ServiceError; `conflict` when its key has one already */
export async function begin(parts: TusParts, context: Context, id: string): Promise<Row> {
  const { ingest, creating } = parts
  const creation = context.creation as Creation
  const { length = null } = creation
  context.creatingId = id
  const intent = { ...intentOf(context, id), length, bytesFollow: hasBody(context.req.headers) }
  if (!creation.concat && length === 0) {
    throw new ServiceError('empty_upload', 'A recording has at least one byte.')
  }
  if (creation.concat) {
    // A key means the whole: clients send it with every part, too.
    const row = await ingest.begin({ ...intent, concat: creation.concat.kind })
    context.uploadId = id
    return row
  }
  const what = await promised(parts, context, creation)
  const idempotency = keyOf(context.req, creation, what.expectedSha256)
  context.isKeyed = idempotency !== undefined
  // Before the row is there for a repeat to find.
  if (idempotency) creating.set(id, context)
  const row = await ingest.begin({ ...intent, ...what, idempotency })
  if (row.id !== id) {
    const first = creating.get(row.id)
    if (first) first.isKnown = true
    context.repeated = row.id
    throw new ServiceError('conflict', 'The upload is there already.')
  }
  context.uploadId = id
  return row
}

/**
 * The key of a whole, and what a repeat must say again: pairs in any order, and the digest in any form. The parts of a
 * final upload are not compared: a client that never heard of it sends them again, to other addresses.
 */
export function keyOf({ headers }: Context['req'], { length, concat, metadata }: Creation, sha256: string | undefined) {
  const pairs = [...metadata]
    .filter(([name]) => name !== 'sha256')
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([name, value]) => [name, value.toString('base64')])
  return idempotencyOf(headers['idempotency-key'], ['tus', concat?.kind, length, sha256, ...pairs])
}

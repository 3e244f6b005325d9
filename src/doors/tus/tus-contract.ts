/** The tus door (tus 1.0), as the contract describes it. */
import { z } from 'zod'
import {
  BYTES,
  header,
  headerOf,
  leadId,
  OPEN_TO_ALL,
  type Operation,
  type Paths,
  refusalsInText,
  refusalsOfHead,
  refusalsToAnybody,
  uploadId,
} from '../../http/contract.ts'

const COUNT = { type: 'integer', minimum: 0 } as const

const VERSION = headerOf('Tus-Resumable', 'The version of tus.', {
  required: true,
  schema: { type: 'string', const: '1.0.0' },
})
const CHECKSUM = headerOf('Upload-Checksum', 'Of this body: an algorithm, a space and Base64; or in its trailers.')

const spoken = { 'Tus-Resumable': header('`1.0.0`') }
const offset = header('Bytes that are stored for certain.', { schema: COUNT })
const expires = header('When it expires, while it is open.', { required: false })
const recorded = {
  'Recording-Id': header('Of the recording that it has become.', { required: false }),
  'Content-Location': header('The address of that recording.', { required: false }),
  'Repr-Digest': header('The SHA-256 of that recording (RFC 9530).', { required: false }),
}

/** What every request about an upload may be refused with. */
const REFUSED = [
  'unsupported_tus_version',
  'forbidden',
  'not_your_lead',
  'not_your_upload',
  'lead_not_found',
  'upload_not_found',
  'upload_expired',
  'upload_terminated',
  'upload_locked',
] as const

/** What a body of bytes may be refused with besides. */
const OF_BYTES = [
  'invalid_parameter',
  'missing_parameter',
  'invalid_length',
  'invalid_checksum_algorithm',
  'incomplete_upload',
  'empty_upload',
  'call_log_not_found',
  'offset_conflict',
  'upload_closed',
  'conflict',
  'too_large',
  'unsupported_media_type',
  'checksum_mismatch',
  'finish_failed',
  'insufficient_storage',
] as const

const bytes = { content: { 'application/offset+octet-stream': { schema: BYTES } } }

const collection = z.object({ lead_id: leadId })
const one = z.object({ lead_id: leadId, upload_id: uploadId })

const options = (operationId: string, path: z.ZodObject): Operation => ({
  operationId,
  tags: ['tus'],
  security: OPEN_TO_ALL,
  summary: 'What the tus door can do',
  requestParams: { path },
  responses: {
    204: {
      description: 'Its capabilities.',
      headers: {
        ...spoken,
        'Tus-Version': header('`1.0.0`'),
        'Tus-Extension': header('The extensions, separated by commas.'),
        'Tus-Max-Size': header('Bytes that an upload may have.', { schema: COUNT }),
        'Tus-Checksum-Algorithm': header('The algorithms, separated by commas.'),
      },
    },
    ...refusalsToAnybody(),
  },
})

const create: Operation = {
  operationId: 'createUpload',
  tags: ['tus'],
  summary: 'Begins an upload, with its first bytes or without; or makes one of several partial uploads',
  requestParams: { path: collection },
  parameters: [
    VERSION,
    headerOf('Upload-Length', 'Bytes of the whole; or it is deferred.', { schema: COUNT }),
    headerOf('Upload-Defer-Length', '`1`: the length is told later.'),
    headerOf(
      'Upload-Metadata',
      'Keys, each with a value in Base64: `filename` and `call_log_id` are required but for a partial upload; `filetype` ' +
        'and `sha256` (of the whole) are optional.',
    ),
    headerOf('Upload-Concat', '`partial`, or `final;` and the addresses of the parts.'),
    headerOf('Repr-Digest', 'The SHA-256 of the whole (RFC 9530).'),
    headerOf(
      'Idempotency-Key',
      '1 to 255 characters of ASCII, in double quotes: a repeat finds the upload that is there.',
    ),
    CHECKSUM,
  ],
  requestBody: { required: false, ...bytes },
  responses: {
    201: {
      description: 'The upload is there.',
      headers: {
        ...spoken,
        Location: header('The address of the upload.'),
        'Upload-Offset': header('Bytes stored, where the creation brought some.', { required: false, schema: COUNT }),
        'Upload-Expires': expires,
        ...recorded,
      },
    },
    ...refusalsInText(...REFUSED, ...OF_BYTES, 'invalid_metadata', 'idempotency_conflict', 'too_many_uploads'),
  },
}

const look: Operation = {
  operationId: 'lookAtUpload',
  tags: ['tus'],
  summary: 'How far an upload is',
  description: 'The offset equals the length only when the recording is stored.',
  requestParams: { path: one },
  parameters: [VERSION],
  responses: {
    200: {
      description: 'Where it stands.',
      headers: {
        ...spoken,
        'Upload-Offset': offset,
        'Cache-Control': header('`no-store`'),
        'Upload-Length': header('Bytes of the whole, once they are told.', { required: false, schema: COUNT }),
        'Upload-Defer-Length': header('`1` until then.', { required: false }),
        'Upload-Metadata': header('As the creation had it.', { required: false }),
        'Upload-Concat': header('As the creation had it.', { required: false }),
        'Upload-Expires': expires,
        ...recorded,
      },
    },
    ...refusalsOfHead(...REFUSED),
  },
}

const patch: Operation = {
  operationId: 'continueUpload',
  tags: ['tus'],
  summary: 'Appends bytes where an upload stands',
  requestParams: { path: one },
  parameters: [
    VERSION,
    headerOf('Upload-Offset', 'Where the bytes belong.', { required: true, schema: COUNT }),
    headerOf('Upload-Length', 'Tells a length that was deferred.', { schema: COUNT }),
    CHECKSUM,
  ],
  requestBody: { required: true, ...bytes },
  responses: {
    204: {
      description: 'They are stored; with the last of them, the recording is.',
      headers: { ...spoken, 'Upload-Offset': offset, 'Upload-Expires': expires, ...recorded },
    },
    ...refusalsInText(...REFUSED, ...OF_BYTES, 'upload_is_final'),
  },
}

const end: Operation = {
  operationId: 'endUpload',
  tags: ['tus'],
  summary: 'Ends an upload; never touches what it has become',
  requestParams: { path: one },
  parameters: [VERSION],
  responses: {
    204: { description: 'It is gone.', headers: spoken },
    ...refusalsInText(...REFUSED, 'upload_closed'),
  },
}

export const tusPaths: Paths = {
  '/api/leads/{lead_id}/uploads': { options: options('tusCapabilities', collection), post: create },
  '/api/leads/{lead_id}/uploads/{upload_id}': {
    options: options('tusCapabilitiesOfUpload', one),
    head: look,
    patch,
    delete: end,
  },
}

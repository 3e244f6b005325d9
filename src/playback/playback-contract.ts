/** Playback and its links, as the contract describes them. */
import { z } from 'zod'
import {
  BYTES,
  header,
  headerOf,
  json,
  jsonBody,
  leadId,
  type Operation,
  type Paths,
  recordingId,
  refusals,
  refusalsOfHead,
} from '../http/contract.ts'
import { playbackLinkAnswer, playbackLinkBody, playbackQuery } from './playback.ts'

const path = z.object({ lead_id: leadId, recording_id: recordingId })

const CONDITIONS = [
  headerOf('If-Match', 'Else 412.'),
  headerOf('If-None-Match', 'Else 304.'),
  headerOf('If-Modified-Since', 'Else 304.'),
  headerOf('If-Unmodified-Since', 'Else 412.'),
]

const VALIDATORS = {
  ETag: header('Strong, from the SHA-256.'),
  'Last-Modified': header('When it was stored.'),
  'Cache-Control': header('`private, no-cache, no-transform`: to be asked for again at each use.'),
}

const DESCRIBED = {
  ...VALIDATORS,
  'Accept-Ranges': header('`bytes`'),
  'Content-Length': header('Bytes of the body.', { schema: { type: 'integer' } }),
  'Content-Disposition': header('The client’s file name (RFC 6266, RFC 8187).'),
  'Repr-Digest': header('The SHA-256 of the whole recording (RFC 9530).'),
}

const NOT_MODIFIED = { description: 'It is the one that the client has.', headers: VALIDATORS }

const REFUSED = [
  'invalid_parameter',
  'link_invalid',
  'link_expired',
  'not_your_lead',
  'lead_not_found',
  'recording_not_found',
  'recording_file_missing',
  'precondition_failed',
] as const

/** A login counts for more than a link. */
const security: Operation['security'] = [{ login: [] }, { playbackLink: [] }]
/** What `playbackLink` says of the query is no parameter beside it. */
const query = playbackQuery.omit({ token: true })

export const playbackPaths: Paths = {
  '/api/leads/{lead_id}/recordings/{recording_id}': {
    get: {
      operationId: 'playRecording',
      tags: ['playback'],
      summary: 'The bytes of a recording',
      security,
      requestParams: { path, query },
      parameters: [
        ...CONDITIONS,
        headerOf('Range', '`bytes=…`: one range, or several.'),
        headerOf('If-Range', 'The range only if it is still this one; else all of it.'),
      ],
      responses: {
        200: { description: 'All of it.', headers: DESCRIBED, content: { '*/*': { schema: BYTES } } },
        206: {
          description: 'A range of it with `Content-Range`, or several as `multipart/byteranges`.',
          headers: {
            ...DESCRIBED,
            'Content-Range': header('Which one, unless there are several.', { required: false }),
          },
          content: { '*/*': { schema: BYTES } },
        },
        302: {
          description: 'With a link, where so configured: the store has it at this address for a while.',
          headers: { Location: header('Signed by the store.') },
        },
        304: NOT_MODIFIED,
        ...refusals(...REFUSED, 'range_not_satisfiable'),
      },
    },
    head: {
      operationId: 'lookAtRecording',
      tags: ['playback'],
      summary: 'The headers of a recording',
      security,
      requestParams: { path, query },
      parameters: CONDITIONS,
      responses: {
        200: { description: 'As GET answers, without the bytes.', headers: DESCRIBED },
        304: NOT_MODIFIED,
        ...refusalsOfHead(...REFUSED),
      },
    },
  },
  '/api/leads/{lead_id}/recordings/{recording_id}/playback-links': {
    post: {
      operationId: 'makePlaybackLink',
      tags: ['playback'],
      summary: 'An address that plays the recording for a while, without a header',
      description: 'Rights are asked again at every use. What is longer than allowed is shortened.',
      requestParams: { path },
      requestBody: jsonBody(playbackLinkBody, { required: false }),
      responses: {
        201: json('The address, and when it ends.', playbackLinkAnswer),
        ...refusals(
          'invalid_parameter',
          'not_your_lead',
          'lead_not_found',
          'recording_not_found',
          'too_large',
          'unsupported_media_type',
        ),
      },
    },
  },
}

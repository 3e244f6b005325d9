/**
 * The chunk actions and the form, as the contract describes them: one operation, since they have one address.
 */
import { z } from 'zod'
import { header, headerOf, json, leadId, type Paths, refusals } from '../http/contract.ts'
import { recordingAnswer } from '../recordings/recordings.ts'
import { simpleForm } from './form/simple-upload.ts'
import {
  appendBody,
  begunAnswer,
  cancelBody,
  cancelledAnswer,
  finalizeBody,
  initBody,
  receivedAnswer,
} from './legacy/actions.ts'

const action = (name: string) => ({ action: z.literal(name) })

const inBase64 = z.string().meta({ description: 'Base64.', contentEncoding: 'base64' })
const asBytes = z.unknown().meta({ description: 'Bytes, or Base64 in a field without a type of its own.' })
const file = z.unknown().meta({ description: 'The sound. Its name has an extension that is served.' })

const init = initBody.extend(action('init')).meta({ id: 'Init' })
const append = appendBody.extend({ ...action('append'), chunk: inBase64 }).meta({ id: 'Append' })
const appendInForm = appendBody.extend({ ...action('append'), chunk: asBytes }).meta({ id: 'AppendInForm' })
const finalize = finalizeBody.extend(action('finalize')).meta({ id: 'Finalize' })
const cancel = cancelBody.extend(action('cancel')).meta({ id: 'Cancel' })
const form = simpleForm.extend({ file }).meta({ id: 'Form' })

const asJson = z.union([init, append, finalize, cancel])

const REFUSED = [
  'invalid_parameter',
  'missing_parameter',
  'incomplete_upload',
  'empty_upload',
  'call_log_mismatch',
  'forbidden',
  'not_your_lead',
  'not_your_upload',
  'lead_not_found',
  'call_log_not_found',
  'upload_not_found',
  'recording_not_found',
  'upload_closed',
  'idempotency_conflict',
  'upload_expired',
  'upload_terminated',
  'too_large',
  'unsupported_media_type',
  'upload_locked',
  'too_many_uploads',
  'finish_failed',
  'insufficient_storage',
] as const

export const recordingsPostPaths: Paths = {
  '/api/leads/{lead_id}/recordings': {
    post: {
      operationId: 'storeRecording',
      tags: ['uploads'],
      summary: 'The chunk actions, or a form with a file',
      description:
        '`init`, any number of `append` in any order, `finalize`; or `cancel`. Without an action: a form with one `file` ' +
        'and its `call_log_id`, in either order. Fields that an action does not know are passed over.',
      requestParams: { path: z.object({ lead_id: leadId }) },
      parameters: [
        headerOf('Idempotency-Key', 'Of `init` and of the form: 1 to 255 characters of ASCII, in double quotes.'),
      ],
      requestBody: {
        required: true,
        content: {
          'application/json': { schema: asJson },
          'application/x-www-form-urlencoded': { schema: asJson },
          'multipart/form-data': {
            schema: z.union([form, init, appendInForm, finalize, cancel]),
            encoding: { file: { contentType: 'audio/*, application/octet-stream' } },
          },
        },
      },
      responses: {
        200: json(
          'Of `finalize` and of the form, the recording; of `cancel`, that it is cancelled.',
          z.union([recordingAnswer, cancelledAnswer]),
        ),
        201: json('Of `init`.', begunAnswer, { Location: header('Of the upload, at the tus door.') }),
        202: json('Of `append`.', receivedAnswer),
        ...refusals(...REFUSED),
      },
    },
  },
}

/** What is wrong with a parameter is said in words of this service, whole. */
import { describe, expect, test } from 'vitest'
import { legacyClient } from './support/legacy.ts'
import { record } from './support/recordings.ts'
import { jsonOf, startService } from './support/service.ts'

const harness = await startService()
const { crm } = harness.tokens
const lead = await harness.lead()
const recording = await record(harness, '0123456789', { lead })
const uploadId = await legacyClient(harness).begin(lead)
const leadPath = `/api/leads/${lead.leadId}`
const callPath = `${leadPath}/call-logs/${lead.callLogId}`
const links = `${recording.url}/playback-links`

const limit = 'The parameter limit is not valid: it must be a whole number from 1 to 200.'
const seconds = 'The parameter expires_in_seconds is not valid: it must be a whole number of 1 or more.'
const direction = 'The parameter direction is not valid: it must be one of inbound, outbound.'
const action = 'The parameter action is not valid: it must be one of init, append, finalize, cancel.'
const append = { action: 'append', upload_id: uploadId, chunk: 'MDEy' }
const index = 'The parameter chunk_index is not valid: it must be a whole number from 0 to 99999.'
const started = 'The parameter started_at is not valid: it must be a time as of RFC 3339, such as 2026-11-22T07:15:30Z.'

const CASES: [method: string, path: string, body: unknown, sentence: string][] = [
  ['GET', `${lead.recordings}?limit=many`, undefined, limit],
  ['GET', `${lead.recordings}?limit=`, undefined, limit],
  ['GET', `${lead.recordings}?limit=201`, undefined, limit],
  ['GET', `${lead.recordings}?limit=1.5`, undefined, limit],
  ['GET', `${lead.recordings}?limit=1&limit=2`, undefined, 'The parameter limit is given more than once.'],
  [
    'GET',
    `${lead.recordings}?call_log_id=a&call_log_id=a`,
    undefined,
    'The parameter call_log_id is given more than once.',
  ],
  ['GET', `${recording.url}?download&download`, undefined, 'The parameter download is given more than once.'],
  [
    'GET',
    `${lead.recordings}?cursor=x`,
    undefined,
    'The parameter cursor is not valid: it is not one that this list gave.',
  ],
  ['POST', links, { expires_in_seconds: 0 }, seconds],
  ['POST', links, { expires_in_seconds: '60' }, seconds],
  ['PUT', callPath, { direction: 'sideways' }, direction],
  ['PUT', callPath, { direction: 7 }, direction],
  ['PUT', callPath, { started_at: 'yesterday' }, started],
  ['PUT', callPath, { duration_seconds: -1 }, 'The parameter duration_seconds is not valid: it must be 0 or more.'],
  ['PUT', callPath, { duration_seconds: '9' }, 'The parameter duration_seconds is not valid: it must be a number.'],
  ['PUT', leadPath, { telecaller_id: 7 }, 'The parameter telecaller_id is not valid: it must be text.'],
  [
    'PUT',
    leadPath,
    { telecaller_id: 'a', name: 'x'.repeat(501) },
    'The parameter name is not valid: it must have 500 characters at most.',
  ],
  ['PUT', leadPath, {}, 'The parameter telecaller_id is missing.'],
  [
    'PUT',
    leadPath,
    { telecaller: 'a', x: 1 },
    'The parameter telecaller_id is missing. No such parameter is known here: telecaller, x.',
  ],
  ['POST', lead.recordings, { action: 'destroy' }, action],
  ['POST', lead.recordings, { ...append, chunk_index: 'first' }, index],
  ['POST', lead.recordings, { ...append, chunk_index: 100_000 }, index],
  [
    'POST',
    lead.recordings,
    { action: 'finalize', upload_id: uploadId, total_chunks: 0 },
    'The parameter total_chunks is not valid: it must be a whole number from 1 to 100000.',
  ],
  ['POST', lead.recordings, { ...append, upload_id: 7 }, 'The parameter upload_id is not valid: it must be text.'],
]

describe('a parameter that is not valid', () => {
  test.for(CASES.map((each) => [each[3], each] as const))('hears: %s', async ([sentence, [method, path, body]]) => {
    const token = method === 'PUT' ? crm : harness.tokens.telecaller
    const res = await harness.api(method, path, { token, body })
    expect(res.status).toBe(400)
    expect(await jsonOf(res)).toMatchObject({ detail: sentence, error: sentence })
  })
})

describe('a body that is JSON but no object', () => {
  const bodies = ['null', '5', '"text"', 'true', '[]', '[{"telecaller_id":"a"}]', ' null ']
  const routes = [
    ['PUT', leadPath, crm],
    ['PUT', callPath, crm],
    ['POST', links, harness.tokens.telecaller],
    ['POST', lead.recordings, harness.tokens.telecaller],
  ] as const
  test.for(routes)('hears so at %s %s', async ([method, path, token]) => {
    for (const body of bodies) {
      const res = await harness.api(method, path, { token, body })
      expect(res.status, body).toBe(400)
      const sentence = 'The body must be a JSON object.'
      expect(await jsonOf(res), body).toMatchObject({ code: 'invalid_request', detail: sentence })
    }
    for (const body of ['{', 'nul', '[', 'x']) {
      const res = await harness.api(method, path, { token, body })
      expect(await jsonOf(res), body).toMatchObject({ status: 400, detail: 'The body is not valid JSON.' })
    }
  })
})

test('a tus request without its version is told which header to send', async () => {
  const res = await harness.api('POST', lead.uploads)
  expect(res.status).toBe(412)
  expect(await res.text()).toContain('send the header Tus-Resumable: 1.0.0')
})

/** Text that no database keeps as it came: each door refuses it, wherever in a request it stands. */
import { expect, test } from 'vitest'
import { jsonOf, startService, tokenFor } from './support/service.ts'
import { metadata } from './support/tus.ts'

const harness = await startService()
const { telecaller, crm } = harness.tokens
const lead = await harness.lead()
const leadPath = `/api/leads/${lead.leadId}`
const TUS = { 'tus-resumable': '1.0.0', 'upload-length': '1' }
const URLENCODED = { 'content-type': 'application/x-www-form-urlencoded' }
const FORM = { 'content-type': 'multipart/form-data; boundary=x' }

const init = (filename: string) => `{"action":"init","call_log_id":"${lead.callLogId}","filename":"${filename}"}`
const form = (name: string) =>
  [
    ...['--x', 'Content-Disposition: form-data; name="call_log_id"', '', lead.callLogId],
    ...['--x', `Content-Disposition: form-data; name="file"; ${name}`, '', 'bytes', '--x--', ''],
  ].join('\r\n')

interface Asked {
  method: string
  path: string
  token?: string
  headers?: Record<string, string>
  body?: string
}

const json = (body: string): Asked => ({ method: 'POST', path: lead.recordings, body })
const named = (filename: string): Asked => ({
  method: 'POST',
  path: lead.uploads,
  headers: { ...TUS, 'upload-metadata': metadata({ filename, call_log_id: lead.callLogId }) },
})

const REFUSED: [where: string, asked: Asked][] = [
  [
    'NUL in JSON',
    { method: 'PUT', path: leadPath, token: crm, body: '{"telecaller_id":"telecaller-a","name":"a\\u0000b"}' },
  ],
  [
    'half a pair in JSON',
    { method: 'PUT', path: leadPath, token: crm, body: '{"telecaller_id":"telecaller-a","name":"\\ud83d"}' },
  ],
  ['NUL in a chunk action', json(init('a\\u0000.wav'))],
  ['half a pair in a chunk action', json(init('\\ude00.wav'))],
  [
    'NUL in an urlencoded action',
    {
      ...json(`action=init&call_log_id=${lead.callLogId}&filename=a%00.wav`),
      headers: URLENCODED,
    },
  ],
  ['NUL in a form’s file name', { ...json(form(`filename*=UTF-8''a%00.wav`)), headers: FORM }],
  ['NUL in a form’s field', { ...json(form('filename="a.wav"').replace(lead.callLogId, 'a\0')), headers: FORM }],
  ['NUL in tus’ metadata', named('a\0.wav')],
  ['NUL in a query', { method: 'GET', path: `${lead.recordings}?call_log_id=%00` }],
  [
    'NUL in a cursor',
    { method: 'GET', path: `${lead.recordings}?cursor=${Buffer.from('1:\0').toString('base64url')}` },
  ],
  ['NUL in a path', { method: 'PUT', path: '/api/leads/%00', token: crm, body: '{"telecaller_id":"t"}' }],
]

test.for(REFUSED)('%s is 400, and nothing is kept', async ([, { method, path, token = telecaller, headers, body }]) => {
  const before = await harness.files('uploads')
  const res = await harness.api(method, path, { token, body, ...(headers && { headers }) })
  expect(res.status).toBe(400)
  expect(await harness.files('uploads')).toEqual(before)
})

test('a token for a caller with NUL or half a pair in the name is none', async () => {
  for (const sub of ['a\0', '\ud83d']) {
    const token = await tokenFor({ sub })
    expect((await harness.api('GET', '/api/leads/x/recordings', { token })).status).toBe(401)
  }
})

test('a pair is kept as it came, as any other character', async () => {
  const name = 'Âsha 😀 \u{10ffff}'
  const body = { telecaller_id: 'telecaller-a', name }
  expect(await jsonOf(await harness.api('PUT', leadPath, { token: crm, body }))).toMatchObject({ name })
})

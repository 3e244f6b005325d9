/** What the line of a request says of a whole service's requests, held against what docs/operating.md says that it may. */
import { readFileSync } from 'node:fs'
import { afterAll, describe, expect, test } from 'vitest'
import { REQUEST_FIELDS } from '../src/http/request-log.ts'
import { readableLog } from './support/log.ts'
import { jsonOf, startService } from './support/service.ts'
import { metadata, tusClient } from './support/tus.ts'

const { log, lines } = readableLog('debug')
const service = await startService({ log })
const tus = tusClient(service.tokens.telecaller)
const lead = await service.lead()
const said: Record<string, unknown>[] = []
const create = (filename = 'a.wav') =>
  tus.create(lead.uploads, {
    'upload-length': '10',
    'upload-metadata': metadata({ filename, call_log_id: lead.callLogId }),
  })

/** The line of the request that `ask` makes: its answer's id tells which. */
async function lineOf(ask: () => Promise<Response>) {
  const res = await ask()
  const id = res.headers.get('x-request-id')
  await expect.poll(() => lines.some(({ requestId }) => requestId === id)).toBe(true)
  const line = lines.find(({ requestId }) => requestId === id) as Record<string, unknown>
  said.push(line)
  return { res, line }
}

const page = readFileSync('docs/operating.md', 'utf8')
const documented = () => {
  const [, table = ''] = /### The line of a request\n(.*?)\n#/s.exec(page) ?? []
  return Array.from(table.matchAll(/^\| ((?:`\w+`(?:, )?)+) \| \S/gm), ([, names = '']) =>
    Array.from(names.matchAll(/\w+/g), ([name]) => name),
  ).flat()
}

afterAll(() => {
  const known = documented()
  expect(said.flatMap((line) => Object.keys(line)).filter((name) => !known.includes(name))).toEqual([])
})

test('docs/operating.md lists every field that the line of a request may have, and no other', () => {
  expect(documented().sort()).toEqual([...REQUEST_FIELDS, 'level', 'time', 'msg'].sort())
})

describe('the line of a request names its caller, lead, upload and recording', () => {
  const whose = { callerId: 'telecaller-a', callerRole: 'telecaller', leadId: lead.leadId }

  test('through tus: from the creation on, and the recording with the last byte', async () => {
    const { res: created, line: first } = await lineOf(() => create())
    const uploadId = created.headers.get('location')?.split('/').at(-1)
    expect(first).toMatchObject({ ...whose, uploadId, status: 201 })
    const { res, line } = await lineOf(() =>
      tus.patch(created.headers.get('location') as string, 0, Buffer.alloc(10, 'x')),
    )
    expect(line).toMatchObject({ ...whose, uploadId, recordingId: res.headers.get('recording-id'), status: 204 })
    expect(line.recordingId).toMatch(/^[\w-]{36}$/)
  })

  test('through the chunk actions, whose addresses do not', async () => {
    const act = (body: object) => lineOf(() => service.api('POST', lead.recordings, { body }))
    const { res, line: begun } = await act({ action: 'init', filename: 'a.wav', call_log_id: lead.callLogId })
    const { upload_id } = await jsonOf(res)
    expect(begun).toMatchObject({ ...whose, uploadId: upload_id })
    const chunk = Buffer.from('0123456789').toString('base64')
    const { line: taken } = await act({ action: 'append', upload_id, chunk_index: 0, chunk })
    expect(taken).toMatchObject({ ...whose, uploadId: upload_id, status: 202 })
    const { res: done, line } = await act({
      action: 'finalize',
      upload_id,
      total_chunks: 1,
      call_log_id: lead.callLogId,
    })
    expect(line).toMatchObject({ ...whose, uploadId: upload_id, recordingId: (await jsonOf(done)).id })
  })

  test('through the form, and when it is played', async () => {
    const form = new FormData()
    form.set('file', new File(['0123456789'], 'a.wav'))
    form.set('call_log_id', lead.callLogId)
    const headers = { authorization: `Bearer ${service.tokens.telecaller}` }
    const { res, line } = await lineOf(() => fetch(lead.recordings, { method: 'POST', headers, body: form }))
    const { id } = await jsonOf(res)
    expect(line).toMatchObject({ ...whose, recordingId: id })
    const played = await lineOf(() => service.api('GET', `${lead.recordings}/${id}`))
    expect(played.line).toMatchObject({ ...whose, recordingId: id, status: 200 })
  })

  test('of a call log', async () => {
    const path = `/api/leads/${lead.leadId}/call-logs/${lead.callLogId}`
    const { line } = await lineOf(() => service.api('PUT', path, { token: service.tokens.crm, body: {} }))
    expect(line).toMatchObject({ callerRole: 'service', leadId: lead.leadId, callLogId: lead.callLogId })
  })
})

describe('the line of a refusal says which check failed', () => {
  const other = service.tokens.other
  test.for([
    [401, 'unauthenticated', 'Authorization: missing', () => service.api('GET', lead.recordings, { token: null })],
    [401, 'unauthenticated', /^form: /, () => service.api('GET', lead.recordings, { token: 'x' })],
    [401, 'link_invalid', /\S/, () => service.api('GET', `${lead.recordings}/x?token=eyJ`, { token: null })],
    [403, 'not_your_lead', /another telecaller/, () => service.api('GET', lead.recordings, { token: other })],
    [404, 'lead_not_found', /no such lead/, () => service.api('GET', '/api/leads/none/recordings')],
    [404, 'route_not_found', /nothing at this address/, () => service.api('GET', '/api/none')],
    [405, 'method_not_allowed', /\S/, () => service.api('PUT', lead.recordings)],
    [400, 'invalid_parameter', /limit/, () => service.api('GET', `${lead.recordings}?limit=0`)],
    [400, 'unknown_parameter', /colour/, () => service.api('GET', `${lead.recordings}?colour=red`)],
    [415, 'unsupported_media_type', /\S/, () => create('a.txt')],
  ] as const)('%i %s', async ([status, code, reason, ask]) => {
    const { line } = await lineOf(ask)
    expect(line).toMatchObject({ level: 'info', status, code, reason: expect.stringMatching(reason) })
    expect(line).not.toHaveProperty('err')
  })

  test('of an offset that is another one: 409', async () => {
    const upload = await tus.begin(lead, 10)
    const { line } = await lineOf(() => tus.patch(upload, 3, Buffer.alloc(7)))
    expect(line).toMatchObject({ status: 409, code: 'offset_conflict', uploadId: upload.split('/').at(-1) })
    expect(line.reason).toMatch(/offset/)
  })

  test('and repeats nothing of a body that could not be read', async () => {
    const headers = { 'content-type': 'application/json' }
    const path = `/api/leads/${lead.leadId}`
    const { line } = await lineOf(() =>
      service.api('PUT', path, { token: service.tokens.crm, body: '{"name": "Rao" oh', headers }),
    )
    expect(line).toMatchObject({ status: 400, reason: 'The body is not valid JSON.' })
  })
})

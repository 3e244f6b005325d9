/** Each operation of the contract, called over HTTP: what it answers is what the contract says. */
import { describe, expect, test } from 'vitest'
import { contractChecker, contractOf, operationsOf } from './support/contract.ts'
import { ask } from './support/http.ts'
import { base64, legacyClient } from './support/legacy.ts'
import { record } from './support/recordings.ts'
import { jsonOf, startService } from './support/service.ts'
import { metadata, OFFSET_TYPE, tusClient } from './support/tus.ts'

const harness = await startService()
const document = await contractOf(harness.url)
const { faultsOf, seen } = contractChecker(document)
const { crm, other, telecaller } = harness.tokens
const lead = await harness.lead()
const theirs = await harness.lead('telecaller-b')
const recording = await record(harness, '0123456789', { lead })
const doomed = await record(harness, '0123456789', { lead })
const hidden = await record(harness, '0123456789', { lead })
const long = await record(harness, 'x'.repeat(5_000), { lead })
const tus = tusClient(telecaller)
const upload = await tus.begin(lead, 10)
const legacy = legacyClient(harness)
const chunked = await legacy.begin(lead)
const link = String((await jsonOf(await harness.api('POST', `${hidden.url}/playback-links`, { body: {} }))).url)

const leadPath = `/api/leads/${lead.leadId}`
const callPath = `${leadPath}/call-logs/${lead.callLogId}`
const links = `${recording.url}/playback-links`
const inTus = { 'tus-resumable': '1.0.0' }
const named = { ...inTus, 'upload-metadata': metadata({ filename: 'a.wav', call_log_id: lead.callLogId }) }
const bytes = { ...inTus, 'content-type': OFFSET_TYPE }

type Options = NonNullable<Parameters<typeof harness.api>[2]>

const call =
  (method: string, path: string, options: Options = {}) =>
  () =>
    harness.api(method, path, options)

/** Without the `Cache-Control` that fetch sends along with a condition. */
async function condition(path: string) {
  const { headers } = await ask(harness.url + path)
  const { status, headers: told } = await ask(harness.url + path, 'GET', { 'if-none-match': headers.etag })
  return new Response(null, { status, headers: told as Record<string, string> })
}

function form(fields: Record<string, string | Blob>) {
  const body = new FormData()
  for (const [name, value] of Object.entries(fields)) {
    if (typeof value === 'string') body.append(name, value)
    else body.append(name, value, 'call.wav')
  }
  return () => fetch(lead.recordings, { method: 'POST', headers: { authorization: `Bearer ${telecaller}` }, body })
}

const urlencoded = (fields: Record<string, string>) => () =>
  fetch(lead.recordings, {
    method: 'POST',
    headers: { authorization: `Bearer ${telecaller}` },
    body: new URLSearchParams(fields),
  })

/** What succeeds, in this order. */
const SUCCESSES: [operation: string, status: number, send: () => Promise<Response>][] = [
  ['writeLead', 201, call('PUT', '/api/leads/new', { token: crm, body: { telecaller_id: 'telecaller-a', name: 'A' } })],
  ['writeLead', 200, call('PUT', '/api/leads/new', { token: crm, body: { telecaller_id: 'telecaller-a' } })],
  ['writeCallLog', 201, call('PUT', '/api/leads/new/call-logs/new', { token: crm, body: { direction: 'inbound' } })],
  [
    'writeCallLog',
    200,
    call('PUT', callPath, { token: crm, body: { started_at: '2026-11-22T07:15:30Z', duration_seconds: 9 } }),
  ],
  ['me', 200, call('GET', '/api/me')],
  ['listLeads', 200, call('GET', '/api/leads?limit=2')],
  ['listLeads', 200, call('GET', '/api/leads?updated_since=2026-01-01T00:00:00Z&q=a', { token: crm })],
  ['lead', 200, call('GET', leadPath)],
  ['listCallLogs', 200, call('GET', `${leadPath}/call-logs?has_recording=true`)],
  ['callLog', 200, call('GET', callPath)],
  ['askRecordings', 200, call('GET', '/api/recordings?limit=2&q=call')],
  ['askRecordings', 200, call('GET', '/api/recordings?sort=longest&min_seconds=0.5', { token: crm })],
  ['statistics', 200, call('GET', '/api/statistics?group_by=lead', { token: crm })],
  ['tusCapabilities', 204, call('OPTIONS', lead.uploads, { token: null })],
  ['tusCapabilitiesOfUpload', 204, call('OPTIONS', upload, { token: null })],
  ['createUpload', 201, call('POST', lead.uploads, { headers: { ...named, 'upload-length': '4' } })],
  [
    'createUpload',
    201,
    call('POST', lead.uploads, { headers: { ...named, ...bytes, 'upload-length': '4' }, body: '0123' }),
  ],
  ['lookAtUpload', 200, call('HEAD', upload, { headers: inTus })],
  ['continueUpload', 204, call('PATCH', upload, { headers: { ...bytes, 'upload-offset': '0' }, body: '01234' })],
  ['listOpenUploads', 200, call('GET', lead.uploads)],
  ['continueUpload', 204, call('PATCH', upload, { headers: { ...bytes, 'upload-offset': '5' }, body: '56789' })],
  ['lookAtUpload', 200, call('HEAD', upload, { headers: inTus })],
  ['endUpload', 204, async () => tus.terminate(await tus.begin(lead, 10))],
  ['storeRecording', 201, () => legacy.init(lead)],
  ['storeRecording', 201, urlencoded({ action: 'init', filename: 'a.wav', call_log_id: lead.callLogId })],
  ['storeRecording', 202, () => legacy.append(lead, chunked, 0, '0123')],
  ['storeRecording', 202, form({ action: 'append', upload_id: chunked, chunk_index: '1', chunk: base64('4567') })],
  ['storeRecording', 200, () => legacy.finalize(lead, chunked, 2)],
  ['storeRecording', 200, async () => legacy.cancel(lead, await legacy.begin(lead))],
  ['storeRecording', 200, form({ file: new Blob(['0123456789']), call_log_id: lead.callLogId })],
  ['listRecordings', 200, call('GET', `${lead.recordings}?limit=1`)],
  ['listRecordings', 200, call('GET', `${lead.recordings}?call_log_id=${lead.callLogId}`)],
  ['recordingDetails', 200, call('GET', `${recording.url}/details`)],
  ['playRecording', 200, call('GET', recording.url)],
  ['playRecording', 200, call('GET', link, { token: null })],
  ['playRecording', 206, call('GET', recording.url, { headers: { range: 'bytes=1-2' } })],
  ['playRecording', 206, call('GET', long.url, { headers: { range: 'bytes=1-2,4-5' } })],
  ['playRecording', 304, call('GET', recording.url, { headers: { 'if-none-match': '*' } })],
  ['lookAtRecording', 200, call('HEAD', recording.url)],
  ['lookAtRecording', 304, call('HEAD', recording.url, { headers: { 'if-none-match': '*' } })],
  ['makePlaybackLink', 201, call('POST', links, { body: { expires_in_seconds: 60 } })],
  ['deleteRecording', 204, call('DELETE', doomed.url)],
  ['livez', 200, call('GET', '/livez', { token: null })],
  ['readyz', 200, call('GET', '/readyz', { token: null })],
  ['contract', 200, call('GET', '/openapi.json', { token: null })],
  ['contract', 304, () => condition('/openapi.json')],
  ['metrics', 200, call('GET', '/metrics', { token: null })],
  ['docs', 200, call('GET', '/docs', { token: null })],
  ['docsFile', 200, call('GET', '/docs/open.js', { token: null })],
  ['docsFile', 200, call('GET', '/docs/swagger-ui-bundle.js', { token: null })],
  ['docsFile', 200, call('GET', '/docs/swagger-ui.css', { token: null })],
  ['docsFile', 304, () => condition('/docs/swagger-ui.css')],
]

/** Where each operation is, what it needs, and where the same is somebody else's or not there. */
interface Place {
  method: string
  path: string
  theirs?: string
  unknown?: string
  token?: string
  headers?: Record<string, string>
  body?: unknown
}

const create = { ...named, 'upload-length': '4' }
const append = { ...bytes, 'upload-offset': '0' }
const NOWHERE = '/api/leads/nobody'
const PLACES: Record<string, Place> = {
  writeLead: { method: 'PUT', path: leadPath, theirs: leadPath, body: { telecaller_id: 'a' }, token: crm },
  writeCallLog: {
    method: 'PUT',
    path: callPath,
    theirs: callPath,
    unknown: `${NOWHERE}/call-logs/new`,
    body: {},
    token: crm,
  },
  createUpload: {
    method: 'POST',
    path: lead.uploads,
    theirs: theirs.uploads,
    unknown: `${NOWHERE}/uploads`,
    headers: create,
  },
  lookAtUpload: { method: 'HEAD', path: upload, theirs: upload, unknown: `${lead.uploads}/none`, headers: inTus },
  continueUpload: {
    method: 'PATCH',
    path: upload,
    theirs: upload,
    unknown: `${lead.uploads}/none`,
    headers: append,
    body: 'x',
  },
  endUpload: { method: 'DELETE', path: upload, theirs: upload, unknown: `${lead.uploads}/none`, headers: inTus },
  listOpenUploads: { method: 'GET', path: lead.uploads, theirs: theirs.uploads, unknown: `${NOWHERE}/uploads` },
  storeRecording: {
    method: 'POST',
    path: lead.recordings,
    theirs: theirs.recordings,
    unknown: `${NOWHERE}/recordings`,
    body: { action: 'init', filename: 'a.wav' },
  },
  listRecordings: { method: 'GET', path: lead.recordings, theirs: theirs.recordings, unknown: `${NOWHERE}/recordings` },
  recordingDetails: {
    method: 'GET',
    path: `${recording.url}/details`,
    theirs: `${recording.url}/details`,
    unknown: `${lead.recordings}/none/details`,
  },
  playRecording: { method: 'GET', path: recording.url, theirs: recording.url, unknown: `${lead.recordings}/none` },
  lookAtRecording: { method: 'HEAD', path: recording.url, theirs: recording.url, unknown: `${lead.recordings}/none` },
  makePlaybackLink: {
    method: 'POST',
    path: links,
    theirs: links,
    unknown: `${lead.recordings}/none/playback-links`,
    body: {},
  },
  deleteRecording: { method: 'DELETE', path: recording.url, theirs: recording.url, unknown: `${lead.recordings}/none` },
  me: { method: 'GET', path: '/api/me' },
  listLeads: { method: 'GET', path: '/api/leads' },
  lead: { method: 'GET', path: leadPath, theirs: leadPath, unknown: NOWHERE },
  listCallLogs: {
    method: 'GET',
    path: `${leadPath}/call-logs`,
    theirs: `${leadPath}/call-logs`,
    unknown: `${NOWHERE}/call-logs`,
  },
  callLog: { method: 'GET', path: callPath, theirs: callPath, unknown: `${leadPath}/call-logs/none` },
  askRecordings: { method: 'GET', path: '/api/recordings' },
  statistics: { method: 'GET', path: '/api/statistics' },
  livez: { method: 'GET', path: '/livez' },
  readyz: { method: 'GET', path: '/readyz' },
  contract: { method: 'GET', path: '/openapi.json' },
  metrics: { method: 'GET', path: '/metrics' },
  docs: { method: 'GET', path: '/docs' },
  docsFile: { method: 'GET', path: '/docs/open.js', unknown: '/docs/index.js' },
}

/** These tell what they can do to anybody, and know no query. */
const SAYS_ALL = ['tusCapabilities', 'tusCapabilitiesOfUpload']

const behindLogin = Object.entries(PLACES).filter(([, { theirs }]) => theirs !== undefined)

const refused = async (operation: string, status: number, more: Partial<Options> & { path?: string }) => {
  const { method, path, token, headers, body } = PLACES[operation] as Place
  const res = await harness.api(method, more.path ?? path, { token, headers, body, ...more })
  expect([res.status, await faultsOf(operation, res)]).toEqual([status, []])
}

describe('as the contract says', () => {
  test.for(SUCCESSES)('%s answers %i', async ([operation, status, send]) => {
    const res = await send()
    expect([res.status, await faultsOf(operation, res)]).toEqual([status, []])
  })

  test('every success that is described was seen', () => {
    const described = operationsOf(document).flatMap(({ operationId, responses }) =>
      Object.keys(responses)
        .filter((status) => Number(status) < 400)
        .map((status) => `${operationId} ${status}`),
    )
    // A store's alone: see the tests over a bucket.
    const elsewhere = ['playRecording 302']
    expect(described.filter((each) => !seen.has(each))).toEqual(elsewhere)
  })

  test('every operation has its refusals below', () => {
    const ids = operationsOf(document).map(({ operationId }) => operationId)
    expect([...Object.keys(PLACES), ...SAYS_ALL].sort()).toEqual(ids.sort())
  })

  test.for(behindLogin)('%s without a token is 401', async ([operation]) => {
    await refused(operation, 401, { token: null })
    await refused(operation, 401, { token: 'none' })
  })

  test.for(behindLogin)('%s of another’s is 403', async ([operation, { theirs: path }]) => {
    await refused(operation, 403, { path, token: path === PLACES[operation]?.path ? other : telecaller })
  })

  test.for(Object.entries(PLACES).filter(([, { unknown }]) => unknown !== undefined))(
    '%s of what is not there is 404',
    async ([operation, { unknown: path }]) => refused(operation, 404, { path }),
  )

  test.for(Object.keys(PLACES))('%s with an unknown parameter is 400', async (operation) => {
    const path = PLACES[operation]?.path
    // Old clients may send more with their actions.
    if (operation === 'storeRecording') return refused(operation, 400, { body: { action: 'none' } })
    await refused(operation, 400, { path: `${path}?nonsense=1` })
  })

  test('what else clients act on', async () => {
    await refused('createUpload', 412, { headers: {} })
    await refused('createUpload', 415, {
      headers: { ...create, 'upload-metadata': metadata({ filename: 'a.exe', call_log_id: lead.callLogId }) },
    })
    await refused('createUpload', 413, { headers: { ...create, 'upload-length': '9999999999999' } })
    await refused('createUpload', 400, { headers: { ...create, 'upload-metadata': 'a b c' } })
    const open = await tus.begin(lead, 10)
    const wrong = { ...bytes, 'upload-offset': '4' }
    await refused('continueUpload', 409, { path: open, headers: wrong })
    const checksum = { ...append, 'upload-checksum': `sha1 ${base64('none')}` }
    await refused('continueUpload', 460, { path: open, headers: checksum })
    const uploadId = await legacy.begin(lead)
    await refused('storeRecording', 400, { body: { action: 'finalize', upload_id: uploadId, total_chunks: 2 } })
    await legacy.append(lead, uploadId, 1, '0123')
    await refused('storeRecording', 400, { body: { action: 'finalize', upload_id: uploadId, total_chunks: 2 } })
    await refused('storeRecording', 415, { headers: { 'content-type': 'text/xml' } })
    await refused('playRecording', 416, { headers: { range: 'bytes=99-' } })
    await refused('playRecording', 412, { headers: { 'if-match': '"x"' } })
    await refused('playRecording', 401, { path: `${recording.url}?token=none`, token: null })
    await refused('writeLead', 415, { body: '<a/>', headers: { 'content-type': 'text/xml' } })
    await refused('writeCallLog', 409, { path: `/api/leads/${theirs.leadId}/call-logs/${lead.callLogId}` })
  })

  test('an answer that gains a member, loses one or changes its type is seen', async () => {
    const answer = await jsonOf(await harness.api('GET', `${recording.url}/details`))
    const { size: _, ...less } = answer
    for (const json of [{ ...answer, more: 1 }, less, { ...answer, size: '10' }, { ...answer, filename: null }]) {
      const res = new Response(JSON.stringify(json), { headers: { 'content-type': 'application/json' } })
      expect(await faultsOf('recordingDetails', res)).not.toEqual([])
    }
    expect(await faultsOf('recordingDetails', new Response(null, { status: 202 }))).not.toEqual([])
  })
})

test('while the service is being replaced, its readiness is as the contract says', async () => {
  harness.service.ingest.drain()
  await refused('readyz', 503, {})
})

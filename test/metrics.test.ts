/** What is measured, told at /metrics to those who may ask. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { rm, truncate } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Registry } from 'prom-client'
import { describe, expect, test, vi } from 'vitest'
import { listenForMetrics } from '../src/metrics/listener.ts'
import { observeRequests } from '../src/metrics/request-series.ts'
import { whatToDo } from '../src/process/start-faults.ts'
import { base64, legacyClient } from './support/legacy.ts'
import { freePort } from './support/ports.ts'
import { NODE } from './support/process.ts'
import { record } from './support/recordings.ts'
import { type Sample, scrape, sumOf } from './support/scrape.ts'
import { failingMoves, SECRET, startService } from './support/service.ts'
import { tusClient } from './support/tus.ts'

const TOKEN = 'a-token-of-the-tests'
const production = { NODE_ENV: 'production' }

const harness = await startService()
const { telecaller } = harness.tokens
const tus = tusClient(telecaller)
const lead = await harness.lead()

/** How much each sample grew while something was done, once all is counted. */
async function grown(work: () => Promise<unknown>) {
  const before = await scrape(harness.url)
  await work()
  // A request is counted when its connection has let go of the answer.
  await new Promise((resolve) => setImmediate(resolve))
  const after = await scrape(harness.url)
  return (name: string, labels: Record<string, string> = {}) => sumOf(after, name, labels) - sumOf(before, name, labels)
}

const REQUESTS = 'call_recordings_http_request_duration_seconds_count'
const EVENTS = 'call_recordings_events_total'

test('those who ask at once get all of one answer', async () => {
  const answers = await Promise.all(Array.from({ length: 20 }, () => scrape(harness.url)))
  for (const answer of answers) {
    const places = answer.filter(({ name }) => name === 'call_recordings_space_free_bytes')
    expect(places.map(({ labels }) => labels.place).sort()).toEqual(['recordings', 'uploads'])
  }
})

describe('requests', () => {
  test('are counted by route, method and status, whichever way they come in', async () => {
    const upload = await tus.begin(lead, 4)
    const growth = await grown(async () => {
      await tus.patch(upload, 0, Buffer.from('0123'))
      await harness.api('HEAD', upload, { headers: { 'tus-resumable': '1.0.0' } })
      await harness.api('GET', `${lead.recordings}?limit=1`)
      await harness.api('GET', '/api/leads/no%20id/recordings')
      await harness.api('GET', '/nowhere/at/all')
      await harness.api('PROPFIND', '/livez')
    })
    const one = '/api/leads/{lead_id}/uploads/{upload_id}'
    expect(growth(REQUESTS, { route: one, method: 'PATCH', status: '204' })).toBe(1)
    expect(growth(REQUESTS, { route: one, method: 'HEAD', status: '200' })).toBe(1)
    expect(growth(REQUESTS, { route: '/api/leads/{lead_id}/recordings', method: 'GET', status: '200' })).toBe(1)
    expect(growth(REQUESTS, { route: '/api/leads/{lead_id}/recordings', method: 'GET', status: '404' })).toBe(1)
    expect(growth(REQUESTS, { route: 'other', status: '404' })).toBe(1)
    expect(growth(REQUESTS, { route: '/livez', method: 'other', status: '405' })).toBe(1)
  })

  test('that a socket has lost the bytes of do no harm', async () => {
    const registry = new Registry()
    const ended = observeRequests([registry])
    const request = { method: 'GET', url: '/livez', status: 200, seconds: 1, code: undefined, door: undefined }
    ended({ ...request, bytesIn: 10, bytesOut: 20 })
    ended({ ...request, bytesIn: -1, bytesOut: -1 })
    const text = await registry.metrics()
    expect(text).toMatch(/_received_bytes_total\{door="api"\} 10\n/)
    expect(text).toMatch(/_sent_bytes_total\{door="api"\} 20\n/)
    expect(text).toMatch(/_duration_seconds_count\{route="\/livez".*\} 2\n/)
  })

  test('name no lead, no upload, no recording and no word of a client’s in any label', async () => {
    const { id } = await record(harness, '0123', { lead })
    await harness.api('GET', `/api/leads/${lead.leadId}/${id}`)
    await harness.api('GET', `/api/leads/${lead.leadId}/recordings/${id}/details?secret=1`)
    const labels = (await scrape(harness.url)).flatMap((sample) => Object.values(sample.labels))
    expect(labels.filter((label) => label.includes(id) || /lead-\d|secret/.test(label))).toEqual([])
  })

  test('tell their bytes by the door that they came or went by', async () => {
    const bytes = 'x'.repeat(50_000)
    const form = new FormData()
    form.append('file', new Blob([bytes]), 'call.wav')
    form.append('call_log_id', lead.callLogId)
    const legacy = legacyClient(harness)
    const { url } = await record(harness, bytes, { lead })
    const growth = await grown(async () => {
      await record(harness, bytes, { lead })
      await fetch(lead.recordings, { method: 'POST', headers: { authorization: `Bearer ${telecaller}` }, body: form })
      await legacy.append(lead, await legacy.begin(lead), 0, base64(bytes))
      await (await harness.api('GET', url)).arrayBuffer()
    })
    for (const door of ['tus', 'simple', 'legacy']) {
      const received = growth('call_recordings_received_bytes_total', { door })
      expect([door, received > 50_000 && received < 80_000]).toEqual([door, true])
    }
    expect(growth('call_recordings_sent_bytes_total', { door: 'playback' })).toBeGreaterThan(50_000)
  })

  test('that are refused are counted by their code', async () => {
    const growth = await grown(async () => {
      await harness.api('GET', lead.recordings, { token: null })
      await tus.patch(await tus.begin(lead, 4), 2, Buffer.from('01'))
    })
    const REFUSED = 'call_recordings_refused_requests_total'
    expect(growth(REFUSED, { door: 'api', code: 'unauthenticated' })).toBe(1)
    expect(growth(REFUSED, { door: 'tus', code: 'offset_conflict' })).toBe(1)
  })
})

describe('uploads and recordings', () => {
  test('are told by what happens to them, and those that are open', async () => {
    let url = ''
    const growth = await grown(async () => {
      url = await tus.begin(lead, 10)
      await tus.patch(url, 0, Buffer.from('01234'))
      await tus.head(url)
      await record(harness, '0123', { lead })
      await tus.terminate(await tus.begin(lead, 10))
    })
    expect(growth(EVENTS, { event: 'uploadCreated' })).toBe(3)
    expect(growth(EVENTS, { event: 'uploadResumed' })).toBe(1)
    expect(growth(EVENTS, { event: 'uploadFinished' })).toBe(1)
    expect(growth(EVENTS, { event: 'uploadTerminated' })).toBe(1)
    expect(growth('call_recordings_uploads_open', { door: 'tus' })).toBe(1)
    expect(growth('call_recordings_space_reserved_bytes')).toBe(5)
  })

  test('the steps of a finish are timed', async () => {
    const growth = await grown(() => record(harness, '0123456789', { lead }))
    const STEPS = 'call_recordings_step_duration_seconds_count'
    expect(growth(STEPS, { step: 'finish' })).toBe(1)
    expect(growth(STEPS, { step: 'inspection' })).toBe(1)
    expect(growth(STEPS, { step: 'database' })).toBeGreaterThan(0)
  })

  test('the last one has its time, and what stores have free is told', async () => {
    await record(harness, '0123', { lead })
    const samples = await scrape(harness.url)
    const atMs = sumOf(samples, 'call_recordings_last_recording_timestamp_seconds') * 1_000
    expect(Math.abs(Date.now() - atMs)).toBeLessThan(60_000)
  })

  test('one that is whole and can not be stored is a job, and a service that can not store is not ready', async () => {
    const { library } = harness.service
    const lead = await harness.lead()
    const url = await tus.begin(lead, 4)
    const jobs = { kind: 'finish', state: 'pending' }
    const restore = failingMoves(harness.service)
    try {
      expect((await tus.patch(url, 0, Buffer.from('0123'))).status).toBe(503)
      vi.spyOn(library, 'probe').mockRejectedValue(new Error('the disk is away'))
      await expect.poll(async () => (await harness.api('GET', '/readyz')).status, { timeout: 10_000 }).toBe(503)
      const samples = await scrape(harness.url)
      expect(sumOf(samples, 'call_recordings_jobs', jobs)).toBe(1)
      expect(sumOf(samples, 'call_recordings_oldest_job_timestamp_seconds', jobs)).toBeGreaterThan(1e9)
      expect(sumOf(samples, 'call_recordings_not_ready', { reason: 'storage' })).toBe(1)
      expect(sumOf(samples, 'call_recordings_not_ready')).toBe(1)
    } finally {
      vi.restoreAllMocks()
      restore()
    }
    await tus.head(url)
    const after = await scrape(harness.url)
    expect(sumOf(after, 'call_recordings_jobs', jobs)).toBe(0)
  })

  test.for([
    ['gone', (file: string) => rm(file), 'recordingFileMissing'],
    ['cut short', (file: string) => truncate(file, 2), 'recordingFileDamaged'],
  ] as const)('a file that is %s is an alarm of its own', async ([, harm, event]) => {
    const { url, leadId } = await record(harness, '0123', { lead: await harness.lead() })
    const growth = await grown(async () => {
      const files = (await harness.files('recordings')).filter((file) => file.startsWith(`${leadId}/`))
      for (const file of files) await harm(path.join(harness.dir, 'recordings', file))
      expect((await harness.api('GET', url)).status).toBe(404)
    })
    expect(growth(EVENTS, { event })).toBe(1)
    const both = ['recordingFileMissing', 'recordingFileDamaged'].map((each) => growth(EVENTS, { event: each }))
    expect(both.sort()).toEqual([0, 1])
  })
})

test('all that an operator counts on is in one scrape', async () => {
  const samples = await scrape(harness.url)
  const has = (name: string, labels: Record<string, string> = {}) =>
    samples.some(
      (sample) => sample.name === name && Object.entries(labels).every(([key, value]) => sample.labels[key] === value),
    )
  const missing = [
    ['requests with their latency', REQUESTS, { route: '/metrics', status: '200' }],
    ['bytes in', 'call_recordings_received_bytes_total', { door: 'api' }],
    ['bytes out', 'call_recordings_sent_bytes_total', { door: 'api' }],
    ['refused requests', 'call_recordings_refused_requests_total'],
    ...['tus', 'legacy', 'simple'].map((door) => [`open, ${door}`, 'call_recordings_uploads_open', { door }] as const),
    ...[
      'uploadCreated',
      'uploadFinished',
      'uploadResumed',
      'uploadExpired',
      'uploadTerminated',
      'uploadRejected',
      'lockTakenOver',
      'uploadBytesMissing',
      'recordingFileMissing',
      'recordingFileDamaged',
    ].map((event) => [event, EVENTS, { event }] as const),
    ...['finish', 'sync', 'database', 'store', 'inspection'].map(
      (step) => [`how long: ${step}`, 'call_recordings_step_duration_seconds_bucket', { step }] as const,
    ),
    ['claims waited for', 'call_recordings_claims_total', { outcome: 'waited_for' }],
    ['claims taken over', 'call_recordings_claims_total', { outcome: 'taken_over' }],
    ['jobs', 'call_recordings_jobs', { kind: 'finish', state: 'pending' }],
    ['room for uploads', 'call_recordings_space_free_bytes', { place: 'uploads' }],
    ['room for recordings', 'call_recordings_space_free_bytes', { place: 'recordings' }],
    ['reserved', 'call_recordings_space_reserved_bytes'],
    ['the last recording', 'call_recordings_last_recording_timestamp_seconds'],
    ['readiness', 'call_recordings_not_ready', { reason: 'database' }],
    ['dropped lines', 'call_recordings_log_lines_dropped_total'],
    ['delay of the event loop', 'nodejs_eventloop_delay_p99_seconds'],
    ['build', 'call_recordings_build_info'],
  ] as const
  expect(missing.filter(([, name, labels]) => !has(name, labels))).toEqual([])
})

test('what happened before anybody asked is counted too, though nothing was loaded for it', async () => {
  const service = await startService()
  const lead = await service.lead()
  await record(service, '0123', { lead })
  for (let i = 0; i < 600; i++) await service.api('GET', '/livez')
  const samples = await scrape(service.url)
  expect(sumOf(samples, REQUESTS, { route: '/livez' })).toBe(600)
  expect(sumOf(samples, REQUESTS, { route: '/api/leads/{lead_id}/uploads', method: 'POST' })).toBe(1)
  expect(sumOf(samples, 'call_recordings_step_duration_seconds_count', { step: 'finish' })).toBeGreaterThan(0)
  // Of this moment, not of the scrape before.
  expect(sumOf(samples, 'nodejs_heap_used_bytes')).toBeGreaterThan(1_000_000)
})

test('the process tells its memory, its loop and its version', async () => {
  const samples = await scrape(harness.url)
  expect(sumOf(samples, 'process_resident_memory_bytes')).toBeGreaterThan(20_000_000)
  expect(sumOf(samples, 'process_cpu_seconds_total')).toBeGreaterThan(0)
  expect(sumOf(samples, 'call_recordings_build_info', { node: process.version })).toBe(1)
  const names = new Set(samples.map(({ name }: Sample) => name))
  for (const name of ['nodejs_eventloop_delay_p99_seconds', 'call_recordings_log_lines_dropped_total']) {
    expect(names).toContain(name)
  }
})

describe('who may ask', () => {
  const get = (url: string, headers: Record<string, string> = {}) => fetch(`${url}/metrics`, { headers })

  test('everybody, outside production; nobody in production, until it is set where', async () => {
    expect((await get(harness.url)).headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/)
    expect((await harness.api('POST', '/metrics')).status).toBe(405)
    const service = await startService({ env: production })
    for (const method of ['GET', 'POST']) {
      const res = await service.api(method, '/metrics')
      expect([res.status, await res.text()]).toEqual([404, expect.stringContaining('route_not_found')])
    }
  })

  test('with a token, those alone who bring it', async () => {
    const service = await startService({ env: { ...production, RECORDINGS_METRICS_TOKEN: TOKEN } })
    expect((await get(service.url, { authorization: `Bearer ${TOKEN}` })).status).toBe(200)
    for (const authorization of ['', 'Bearer', `Bearer ${TOKEN}x`, `Basic ${TOKEN}`, `Bearer ${telecaller}`]) {
      const res = await get(service.url, authorization === '' ? {} : { authorization })
      expect([authorization, res.status]).toEqual([authorization, 401])
      expect(res.headers.get('www-authenticate')).toBe('Bearer realm="metrics"')
    }
  })

  test('at a port of their own, where nothing else is, until the server ends', async () => {
    const port = await freePort()
    const service = await startService({ env: { RECORDINGS_METRICS_PORT: String(port) } })
    const url = `http://127.0.0.1:${port}`
    expect(sumOf(await scrape(url), 'call_recordings_build_info')).toBe(1)
    expect((await get(service.url)).status).toBe(404)
    expect((await fetch(`${url}/livez`)).status).toBe(404)
    expect((await fetch(`${url}/metrics`, { method: 'POST' })).status).toBe(405)
    await service.stop()
    await expect(get(url)).rejects.toThrow()
  })
})

test('a port that is taken is named with the setting that names it', async () => {
  const { port } = new URL(harness.url)
  const { config } = harness.service
  const setting = { at: 'port', port: Number(port) } as const
  const metrics = { text: async () => '' }
  const error = await listenForMetrics(metrics, { host: config.host, port: setting.port }).catch((fault) => fault)
  expect(whatToDo(error, { ...config, port: 1, metrics: setting })).toBe(
    `port ${port} of 127.0.0.1 is taken by another program: end that one, or set RECORDINGS_METRICS_PORT to another one`,
  )
})

test('no code of metrics is loaded until somebody asks; where they are off, none at all, and no step is timed', () => {
  const script = `
    import { channel } from 'node:diagnostics_channel'
    import { createRequire } from 'node:module'
    import { readConfig } from './src/config/config.ts'
    import { startServer } from './src/server.ts'
    import { createService } from './src/service.ts'
    const { cache } = createRequire(import.meta.url)
    const loaded = () => Object.keys(cache).some((file) => /node_modules.prom-client./.test(file))
    const results = []
    for (const token of ['', '${TOKEN}']) {
      const service = await createService(readConfig({ ...process.env, RECORDINGS_METRICS_TOKEN: token }))
      const running = await startServer(service)
      const isTimed = channel('call-recordings:finish').hasSubscribers
      const before = loaded()
      await fetch(running.url + '/metrics', { headers: { authorization: 'Bearer ' + token } })
      results.push([before, loaded(), isTimed])
      await running.close()
      await service.close()
    }
    process.stdout.write(JSON.stringify(results))`
  const dir = mkdtempSync(path.join(tmpdir(), 'call-recordings-'))
  const env = {
    ...production,
    PATH: process.env.PATH ?? '',
    PORT: '0',
    LOG_LEVEL: 'silent',
    RECORDINGS_DATA_DIR: dir,
    RECORDINGS_JWT_SECRET: SECRET,
  }
  const { stdout, stderr } = spawnSync(NODE, ['--input-type=module', '-e', script], { encoding: 'utf8', env })
  rmSync(dir, { recursive: true })
  expect(stderr).toBe('')
  expect(JSON.parse(stdout)).toEqual([
    [false, false, false],
    [false, true, true],
  ])
})

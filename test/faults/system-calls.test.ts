import { spawnSync } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { startProcess } from '../support/process.ts'
import { jsonOf } from '../support/service.ts'
import { noise, tusClient } from '../support/tus.ts'

const CALLS = 'write,writev,pwrite64,pwritev,fsync,fdatasync,rename,renameat,renameat2,openat,sendto'

function hasStrace(): boolean {
  const { status, error } = spawnSync('strace', ['-V'])
  if (status !== 0 && process.env.CI === 'true') throw error ?? new Error('strace is missing')
  return status === 0
}

/** A system call, in the order in which they ended; with `-y`, descriptors carry their paths. */
interface Call {
  name: string
  text: string
}

/** Calls that were interrupted in the trace by others are put together again. */
function callsOf(trace: string): Call[] {
  const begun = new Map<string, string>()
  const calls: Call[] = []
  for (const line of trace.split('\n')) {
    const [, pid = '', rest = ''] = /^(\d+) +(.*)$/.exec(line) ?? []
    if (rest.endsWith('<unfinished ...>')) {
      begun.set(pid, rest.slice(0, -'<unfinished ...>'.length))
      // An answer counts from where it begins, a sync from where it has ended.
      if (rest.includes('HTTP/1.1 2')) calls.push({ name: 'answer', text: rest })
      continue
    }
    const resumed = /^<\.\.\. (\w+) resumed>(.*)$/.exec(rest)
    const text = resumed ? `${begun.get(pid) ?? ''}${resumed[2]}` : rest
    const name = /^(\w+)\(/.exec(text)?.[1]
    if (name === undefined) continue
    if (text.includes('HTTP/1.1 2')) {
      if (!resumed) calls.push({ name: 'answer', text })
    } else calls.push({ name, text })
  }
  return calls
}

/** The calls of each request that was answered, the answer last. */
function answered(trace: string): Call[][] {
  const requests: Call[][] = [[]]
  for (const call of callsOf(trace)) {
    requests.at(-1)?.push(call)
    if (call.name === 'answer') requests.push([])
  }
  requests.pop()
  return requests
}

const isWrite = ({ name }: Call) => /^(p?write(v|64)?|pwritev)$/.test(name)
const isSync = ({ name, text }: Call) => /^f(data)?sync$/.test(name) && text.endsWith('= 0')
const isRename = ({ name }: Call) => name.startsWith('rename')

describe.skipIf(!hasStrace())('what is acknowledged is on the disk before the answer is written', () => {
  /** The calls of each answered request, the answer last. */
  let requests: Call[][]

  beforeAll(async () => {
    const dir = await mkdtemp(path.join(tmpdir(), 'trace-'))
    const trace = path.join(dir, 'trace')
    const traced = ['strace', '-f', '-y', '-s', '40', '-e', `trace=${CALLS}`, '-o', trace]
    const env = { LOG_LEVEL: 'info' }
    const server = await startProcess({ wrapper: traced, env })
    const lead = await server.lead()
    const tus = tusClient(server.tokens.telecaller)
    const bytes = noise(3_000)
    const url = await tus.begin(lead, bytes.length)
    await tus.patch(url, 0, bytes.subarray(0, 1_000))
    await tus.patch(url, 1_000, bytes.subarray(1_000))
    const post = (body: Record<string, unknown>, to = server) =>
      to.api('POST', `/api/leads/${lead.leadId}/recordings`, { body })
    const begun = await jsonOf(await post({ action: 'init', filename: 'call.wav', call_log_id: lead.callLogId }))
    const append = (chunk_index: number) =>
      post({ action: 'append', upload_id: begun.upload_id, chunk_index, chunk: bytes.toString('base64') })
    await append(1)
    await append(0)
    await append(2)
    const finalize = { action: 'finalize', upload_id: begun.upload_id, total_chunks: 3, call_log_id: lead.callLogId }
    expect((await post(finalize)).status).toBe(200)
    const form = new FormData()
    form.append('call_log_id', lead.callLogId)
    form.append('file', new Blob([new Uint8Array(bytes)]), 'call.wav')
    const sent = await fetch(lead.recordings, {
      method: 'POST',
      headers: { authorization: `Bearer ${server.tokens.telecaller}` },
      body: form,
    })
    expect(sent.status).toBe(200)
    const resumed = await tus.begin(lead, bytes.length)
    await tus.patch(resumed, 0, bytes.subarray(0, 1_000))
    await server.kill('SIGTERM')
    requests = answered(await readFile(trace, 'utf8'))
    expect(requests.length).toBe(13)

    // What another process has written, this one finds on the disk.
    const next = await startProcess({ wrapper: traced, env, dir: server.dir })
    const goneOn = new URL(new URL(resumed).pathname, next.url)
    expect((await tus.patch(goneOn.href, 1_000, bytes.subarray(1_000))).status).toBe(204)
    // As a process left it that died before the folder's name was on disk.
    const early = await jsonOf(await post({ action: 'init', filename: 'call.wav', call_log_id: lead.callLogId }, next))
    await mkdir(path.join(server.dir, 'uploads', `${early.upload_id}.beside`))
    const chunk = { chunk_index: 5, chunk: bytes.toString('base64') }
    expect((await post({ action: 'append', upload_id: early.upload_id, ...chunk }, next)).status).toBe(202)
    await next.kill('SIGTERM')
    const afterStart = answered(await readFile(trace, 'utf8'))
    expect(afterStart.length).toBe(3)
    requests.push(...afterStart)
    await rm(dir, { recursive: true })
  }, 60_000)

  /** A write that is on disk when it returns: its descriptor was opened so. */
  function isSyncedWrite(call: Call): boolean {
    const [, fd, file] = /^\w+\((\d+)<([^>]+)>/.exec(call.text) ?? []
    if (!isWrite(call) || fd === undefined) return false
    const all = requests.flat()
    const opened = all
      .slice(0, all.indexOf(call))
      .findLast(({ name, text }) => name === 'openat' && text.endsWith(` = ${fd}<${file}>`))
    return opened?.text.includes('O_DSYNC') ?? false
  }

  /** Every file under a folder that was written has been synced after its last write, or with it. */
  function expectSynced(calls: Call[], folder: string): void {
    const files = new Set(calls.filter(isWrite).flatMap(({ text }) => /^\w+\(\d+<([^>]+)>/.exec(text)?.[1] ?? []))
    const ours = [...files].filter((file) => file.includes(folder))
    expect(ours.length).toBeGreaterThan(0)
    for (const file of ours) {
      const lastWrite = calls.findLastIndex((call) => isWrite(call) && call.text.includes(`<${file}>`))
      if (isSyncedWrite(calls[lastWrite] as Call)) continue
      // A file that was moved meanwhile is shown under its new name.
      const synced = calls.findIndex((call, i) => i > lastWrite && isSync(call) && call.text.includes(`<${file}>`))
      expect(synced, `${file} is synced after its last write and before the answer`).toBeGreaterThan(lastWrite)
    }
  }

  /** The write-ahead log is synced last of all. */
  function expectCommitted(calls: Call[]): void {
    expectSynced(calls, 'recordings.db-wal')
    const commit = calls.findLastIndex((call) => isSync(call) && call.text.includes('recordings.db-wal'))
    const bytes = calls.findLastIndex((call) => (isSync(call) || isSyncedWrite(call)) && call.text.includes('/uploads'))
    expect(commit).toBeGreaterThan(bytes)
  }

  /** The bytes are synced, then moved; the new name is synced, then recorded. */
  function expectFinished(calls: Call[]): void {
    const rename = calls.findIndex((call) => isRename(call) && call.text.includes('/recordings/lead-'))
    expect(rename).toBeGreaterThan(-1)
    const folder = calls.findIndex(
      (call, i) => i > rename && isSync(call) && /recordings\/lead-[\w-]+>/.test(call.text),
    )
    expect(folder).toBeGreaterThan(rename)
    const commit = calls.findLastIndex((call) => isSync(call) && call.text.includes('recordings.db-wal'))
    expect(commit).toBeGreaterThan(folder)
  }

  test('tus: a part', () => {
    expectSynced(requests[3] as Call[], '/uploads/')
    expectCommitted(requests[3] as Call[])
  })

  test('tus: the last part, and the finish', () => {
    expectSynced(requests[4] as Call[], '/uploads/')
    expectFinished(requests[4] as Call[])
  })

  test('tus: the last part, after a start', () => {
    expectSynced(requests[13] as Call[], '/uploads/')
    expectFinished(requests[13] as Call[])
  })

  test('legacy: a chunk that came early, and one in its place', () => {
    for (const calls of [requests[6], requests[7]]) {
      expectSynced(calls as Call[], '/uploads/')
      expectCommitted(calls as Call[])
    }
  })

  test('legacy: a chunk that came early, into a folder that a process left which died too soon', () => {
    const calls = requests[15] as Call[]
    expectSynced(calls, '/uploads/')
    expect(calls.some((call) => isSync(call) && /\/uploads>/.test(call.text))).toBe(true)
    expectCommitted(calls)
  })

  test.for([
    ['tus: what comes to an end within one write', 4],
    ['legacy: a chunk in order', 8],
    ['simple: a short file', 10],
  ] as const)('%s is on disk when that write returns', ([, request]) => {
    const calls = requests[request] as Call[]
    const written = calls.filter((call) => isWrite(call) && call.text.includes('/uploads/'))
    expect(written).toHaveLength(1)
    expect(isSyncedWrite(written[0] as Call)).toBe(true)
    const commit = calls.findLastIndex((call) => isSync(call) && call.text.includes('recordings.db-wal'))
    expect(commit).toBeGreaterThan(calls.indexOf(written[0] as Call))
  })

  test('legacy: finalize', () => expectFinished(requests[9] as Call[]))

  test('simple: the form', () => {
    expectSynced(requests[10] as Call[], '/uploads/')
    expectFinished(requests[10] as Call[])
  })

  test('creations are committed', () => {
    for (const i of [2, 5]) expectSynced(requests[i] as Call[], 'recordings.db-wal')
  })
})

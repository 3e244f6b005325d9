import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, open, rm, stat, writeFile } from 'node:fs/promises'
import { Agent, request as httpRequest } from 'node:http'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import BetterSqlite3 from 'better-sqlite3'
import { describe, expect, test } from 'vitest'
import { mayMount, mountTmpfs, resizeTmpfs, setReadOnly } from '../support/mounts.ts'
import { NODE, type ServerProcess, startProcess, watchLivez } from '../support/process.ts'
import { afterwards, jsonOf, type TestLead } from '../support/service.ts'
import { DOORS, sha256 } from '../support/stubborn.ts'
import { metadata, noise, OFFSET_TYPE, tusClient } from '../support/tus.ts'

const MiB = 2 ** 20

async function temporary(): Promise<string> {
  const dir = await mkdtemp(path.join(tmpdir(), 'disk-'))
  afterwards(() => rm(dir, { recursive: true, force: true }))
  return dir
}

async function mounted(bytes: number): Promise<string> {
  const dir = path.join(await temporary(), 'mounted')
  await mountTmpfs(dir, bytes)
  return dir
}

/** Takes all the room there is but about `leaveBytes`. */
async function fill(dir: string, leaveBytes = 0): Promise<string> {
  const ballast = path.join(dir, 'ballast')
  const handle = await open(ballast, 'a')
  const piece = Buffer.alloc(4_096)
  let bytes = 0
  try {
    for (;;) {
      await handle.write(piece)
      bytes += piece.length
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
    await handle.truncate(Math.max(0, bytes - leaveBytes))
  } finally {
    await handle.close()
  }
  return ballast
}

const retryLater = (res: Response) => Number(res.headers.get('retry-after')) > 0
const offsetOf = (res: Response) => Number(res.headers.get('upload-offset'))

async function recorded(server: ServerProcess, lead: TestLead): Promise<string[]> {
  const { recordings } = (await jsonOf(await server.api('GET', lead.recordings))) as {
    recordings: { sha256: string }[]
  }
  return recordings.map((recording) => recording.sha256)
}

async function play(server: ServerProcess, address: string): Promise<string> {
  const res = await server.api('GET', address)
  expect(res.status).toBe(200)
  return sha256(Buffer.from(await res.arrayBuffer()))
}

async function record(server: ServerProcess, lead: TestLead, bytes: Buffer): Promise<string> {
  const tus = tusClient(server.tokens.telecaller)
  const res = await tus.patch(await tus.begin(lead, bytes.length), 0, bytes)
  return res.headers.get('content-location') as string
}

describe.skipIf(!mayMount())('a full disk', { timeout: 40_000 }, () => {
  test('an upload that cannot fit is refused before a byte is sent; what was promised to others counts', async () => {
    const server = await startProcess({ dir: await mounted(16 * MiB) })
    const tus = tusClient(server.tokens.telecaller)
    const lead = await server.lead()
    const create = (length: number) =>
      tus.create(lead.uploads, {
        'upload-length': String(length),
        'upload-metadata': metadata({ filename: 'call.wav', call_log_id: lead.callLogId }),
      })
    expect((await create(10 * MiB)).status).toBe(201)
    const refused = await create(10 * MiB)
    expect(refused.status).toBe(507)
    expect(retryLater(refused)).toBe(true)
    expect((await create(1 * MiB)).status).toBe(201)
  })

  test('in the middle of a PATCH: 507 with a true offset, playback goes on, and with room the same upload goes on', async () => {
    const dir = await mounted(24 * MiB)
    const server = await startProcess({ dir })
    const tus = tusClient(server.tokens.telecaller)
    const lead = await server.lead()
    const earlier = noise(100_000)
    const address = await record(server, lead, earlier)
    const bytes = noise(6 * MiB)
    const url = await tus.begin(lead, bytes.length)
    expect((await tus.patch(url, 0, bytes.subarray(0, MiB))).status).toBe(204)

    const ballast = await fill(dir, 2 * MiB)
    const full = await tus.patch(url, MiB, bytes.subarray(MiB))
    expect(full.status).toBe(507)
    expect(retryLater(full)).toBe(true)
    const told = await tus.head(url)
    expect(told.status).toBe(200)
    const offset = offsetOf(told)
    expect(offset).toBeGreaterThanOrEqual(MiB)
    expect(offset).toBeLessThan(bytes.length)
    expect((await stat(path.join(dir, 'uploads', url.split('/').pop() as string))).size).toBeGreaterThanOrEqual(offset)
    expect(await play(server, address)).toBe(sha256(earlier))
    const logged = await server.line((line) => line.status === 507)
    expect(JSON.stringify(logged.err)).toMatch(/ENOSPC|SQLITE_FULL/)

    await rm(ballast)
    const last = await tus.patch(url, offset, bytes.subarray(offset))
    expect(last.status).toBe(204)
    expect(await recorded(server, lead)).toContain(sha256(bytes))
    expect(await play(server, last.headers.get('content-location') as string)).toBe(sha256(bytes))
    expect(server.lines.some((line) => line.level === 'fatal')).toBe(false)
  })

  test.for(['tus', 'legacy', 'simple'] as const)(
    'full and emptied under the %s client: it gets through',
    async (door) => {
      const dir = await mounted(24 * MiB)
      const server = await startProcess({ dir })
      const lead = await server.lead()
      await fill(dir)
      const bytes = noise(3 * MiB)
      const stored = DOORS[door]({ client: server, lead, bytes, stepBytes: 512 * 1024 })
      await server.line((line) => line.status === 507)
      await rm(path.join(dir, 'ballast'))
      await stored
      expect(await recorded(server, lead)).toEqual([sha256(bytes)])
      await expect.poll(() => server.files('uploads')).toEqual([])
    },
  )

  test("where only the database's disk is full: nothing is acknowledged, the bytes stay, the finish comes by itself", async () => {
    const dir = await mounted(4 * MiB)
    const other = await temporary()
    const server = await startProcess({
      dir,
      env: {
        RECORDINGS_DIR: path.join(other, 'recordings'),
        RECORDINGS_UPLOADS_DIR: path.join(other, 'uploads'),
        RECORDINGS_MAX_UPLOADS_PER_CALLER: '100000',
      },
    })
    const tus = tusClient(server.tokens.telecaller)
    const lead = await server.lead()
    const bytes = noise(200_000)
    const url = await tus.begin(lead, bytes.length)
    await fill(dir)
    // What the write-ahead log has room for still goes.
    const tryCreation = () =>
      tus.create(lead.uploads, {
        'upload-defer-length': '1',
        'upload-metadata': metadata({ filename: 'call.wav', call_log_id: lead.callLogId }),
      })
    let refused = await tryCreation()
    for (let i = 0; refused.status === 201 && i < 5_000; i++) refused = await tryCreation()
    expect(refused.status).toBe(507)
    expect(retryLater(refused)).toBe(true)
    const last = await tus.patch(url, 0, bytes)
    expect(last.status).toBe(507)
    expect(last.headers.get('upload-offset')).toBeNull()
    expect((await fetch(`${server.url}/livez`)).status).toBe(200)
    expect(await recorded(server, lead)).toEqual([])

    await rm(path.join(dir, 'ballast'))
    await expect.poll(() => recorded(server, lead), { timeout: 15_000 }).toEqual([sha256(bytes)])
    expect(offsetOf(await tus.head(url))).toBe(bytes.length)
  })

  test('the recordings on a full disk of their own: 507, and the finish comes by itself when there is room', async () => {
    const recordingsDir = await mounted(2 * MiB)
    const server = await startProcess({ env: { RECORDINGS_DIR: recordingsDir } })
    const tus = tusClient(server.tokens.telecaller)
    const lead = await server.lead()
    const bytes = noise(MiB)
    const url = await tus.begin(lead, bytes.length)
    await fill(recordingsDir, 100_000)
    const last = await tus.patch(url, 0, bytes)
    expect(last.status).toBe(507)
    expect(retryLater(last)).toBe(true)
    // The client must not see the full length before there is a recording.
    expect((await tus.head(url)).status).toBe(507)
    await rm(path.join(recordingsDir, 'ballast'))
    resizeTmpfs(recordingsDir, 8 * MiB)
    await expect.poll(() => recorded(server, lead), { timeout: 15_000 }).toEqual([sha256(bytes)])
    expect(await server.files('uploads')).toEqual([])
  })
})

describe.skipIf(!mayMount())('a recordings directory that takes no writes', { timeout: 40_000 }, () => {
  async function readOnly() {
    const recordingsDir = await mounted(16 * MiB)
    const server = await startProcess({ env: { RECORDINGS_DIR: recordingsDir } })
    const lead = await server.lead()
    const tus = tusClient(server.tokens.telecaller)
    const address = await record(server, lead, noise(1_000))
    setReadOnly(recordingsDir, true)
    const bytes = noise(300_000)
    const url = await tus.begin(lead, bytes.length)
    const last = await tus.patch(url, 0, bytes)
    expect(last.status).toBe(503)
    expect(retryLater(last)).toBe(true)
    return { server, lead, tus, url, bytes, address, recordingsDir }
  }

  test('503, the bytes stay, playback goes on, and the finish comes by itself', async () => {
    const { server, lead, bytes, address, recordingsDir } = await readOnly()
    expect((await server.api('GET', address)).status).toBe(200)
    await expect.poll(async () => (await fetch(`${server.url}/readyz`)).status, { timeout: 5_000 }).toBe(503)
    expect((await fetch(`${server.url}/livez`)).status).toBe(200)
    expect(server.lines.some((line) => JSON.stringify(line.err ?? '').includes('EROFS'))).toBe(true)
    setReadOnly(recordingsDir, false)
    await expect.poll(() => recorded(server, lead), { timeout: 15_000 }).toContain(sha256(bytes))
    await expect.poll(async () => (await fetch(`${server.url}/readyz`)).status, { timeout: 5_000 }).toBe(200)
  })

  test("503, also after a kill -9 in between; the client's next try finishes it", async () => {
    const { server, lead, tus, url, bytes, recordingsDir } = await readOnly()
    expect((await tus.head(url)).status).toBe(503)
    await server.kill()
    await server.restart()
    expect((await tus.head(url)).status).toBe(503)
    setReadOnly(recordingsDir, false)
    const head = await tus.head(url)
    expect(head.status).toBe(200)
    expect(offsetOf(head)).toBe(bytes.length)
    expect(head.headers.get('recording-id')).not.toBeNull()
    expect(await recorded(server, lead)).toContain(sha256(bytes))
    expect(await server.files('uploads')).toEqual([])
  })
})

/** Another process that holds the write lock of the database. */
async function lockDatabase(file: string) {
  const script = `
    const db = new (require('better-sqlite3'))(process.argv[1])
    db.exec('BEGIN IMMEDIATE')
    process.stdout.write('locked')
    process.stdin.resume().on('end', () => process.exit())`
  const child = spawn(NODE, ['-e', script, file], { stdio: ['pipe', 'pipe', 'inherit'] })
  await once(child.stdout, 'data')
  return async () => {
    child.stdin.end()
    await once(child, 'exit')
  }
}

describe('a database that is locked by another process for 10 s', { timeout: 60_000 }, () => {
  test('clients hear 503 and get through, by every door; /livez answers in under 100 ms', async () => {
    const server = await startProcess()
    const lead = await server.lead()
    const unlock = await lockDatabase(path.join(server.dir, 'recordings.db'))
    const stopWatching = await watchLivez(server.url)
    const files = Object.values(DOORS).map((store) => ({ store, bytes: noise(500_000) }))
    const stored = files.map(({ store, bytes }) => store({ client: server, lead, bytes, stepBytes: 200_000 }))
    await sleep(10_000)
    await unlock()
    const timesMs = await stopWatching()
    await Promise.all(stored)
    const busy = server.lines.find((line) => line.status === 503)
    expect(JSON.stringify(busy?.err)).toContain('SQLITE_BUSY')
    // Not the slowest of hundreds: the machine has other things to do.
    expect(timesMs.sort((a, b) => a - b)[Math.floor(timesMs.length * 0.95)]).toBeLessThan(100)
    expect((await recorded(server, lead)).sort()).toEqual(files.map(({ bytes }) => sha256(bytes)).sort())
  })

  test('a finish in the middle of it: 503 with Retry-After, then it comes by itself', async () => {
    const server = await startProcess()
    const tus = tusClient(server.tokens.telecaller)
    const lead = await server.lead()
    const bytes = noise(100_000)
    const url = await tus.begin(lead, bytes.length)
    const unlock = await lockDatabase(path.join(server.dir, 'recordings.db'))
    const last = await tus.patch(url, 0, bytes)
    expect(last.status).toBe(503)
    expect(retryLater(last)).toBe(true)
    await unlock()
    await expect.poll(() => recorded(server, lead), { timeout: 15_000 }).toEqual([sha256(bytes)])
  })
})

test('a damaged database: 503, the cause in the log, and the server lives', async () => {
  const server = await startProcess()
  const lead = await server.lead()
  await server.kill('SIGTERM')
  const file = path.join(server.dir, 'recordings.db')
  const db = new BetterSqlite3(file)
  const { page } = db.prepare("SELECT rootpage AS page FROM sqlite_master WHERE name = 'leads'").get() as {
    page: number
  }
  const size = db.pragma('page_size', { simple: true }) as number
  db.close()
  const handle = await open(file, 'r+')
  await handle.write(noise(size), 0, size, (page - 1) * size)
  await handle.close()
  await server.restart()
  const res = await server.api('GET', `/api/leads/${lead.leadId}/recordings`)
  expect(res.status).toBe(503)
  expect(retryLater(res)).toBe(true)
  expect(JSON.stringify(await jsonOf(res))).not.toMatch(/SQLITE|malformed|select/i)
  const logged = await server.line((line) => line.status === 503)
  expect(JSON.stringify(logged.err)).toContain('SQLITE_CORRUPT')
  expect((await fetch(`${server.url}/livez`)).status).toBe(200)
})

test('a database that is none: the start says so and ends', async () => {
  const dir = await temporary()
  await writeFile(path.join(dir, 'recordings.db'), noise(10_000))
  await expect(startProcess({ dir })).rejects.toThrow(/SQLITE_NOTADB/)
})

test('no file can be opened any more (EMFILE): 503, and the same upload goes on when one can', async () => {
  const server = await startProcess()
  const tus = tusClient(server.tokens.telecaller)
  const lead = await server.lead()
  const bytes = noise(50_000)
  const url = await tus.begin(lead, bytes.length)
  const limit = (files: number) =>
    expect(spawnSync('prlimit', ['--pid', String(server.pid), `--nofile=${files}:`]).status).toBe(0)
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  const send = async (method: string, body?: Buffer) => {
    const request = httpRequest(url, {
      method,
      agent,
      headers: {
        authorization: `Bearer ${server.tokens.telecaller}`,
        'tus-resumable': '1.0.0',
        ...(body && { 'upload-offset': '0', 'content-type': OFFSET_TYPE, 'content-length': body.length }),
      },
    })
    request.end(body)
    const [response] = await once(request, 'response')
    response.resume()
    await once(response, 'end')
    return response as { statusCode: number; headers: Record<string, string> }
  }
  expect((await send('HEAD')).statusCode).toBe(200)
  // The connections that the test itself has open beside this one are older: nothing is left for a file.
  limit(3)
  const starved = await send('PATCH', bytes)
  expect(starved.statusCode).toBe(503)
  expect(starved.headers['retry-after']).toBeDefined()
  expect(JSON.stringify((await server.line((line) => line.status === 503)).err)).toContain('EMFILE')
  limit(1_024)
  expect((await send('PATCH', bytes)).statusCode).toBe(204)
  expect(await recorded(server, lead)).toEqual([sha256(bytes)])
  agent.destroy()
})

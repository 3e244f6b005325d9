/**
 * A service of its own for a test: temp folder, port 0, tokens of every kind; closed when the file ends.
 */

import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { SignJWT } from 'jose'
import { afterAll, onTestFinished } from 'vitest'
import type { Clock } from '../../src/clock.ts'
import { systemClock } from '../../src/clock.ts'
import { readConfig } from '../../src/config/config.ts'
import { newId } from '../../src/ids.ts'
import type { Log } from '../../src/log.ts'
import { type RunningServer, startServer } from '../../src/server.ts'
import { createService, type Service } from '../../src/service.ts'
import type { Staged } from '../../src/storage/staging.ts'
import { homeOf, objectsIn } from './home.ts'

export const SECRET = 'a secret of the tests, at least thirty-two bytes'

export interface TokenClaims {
  sub?: string
  role?: string
  [claim: string]: unknown
}

/** A token as the CRM's login makes it; an hour to live unless `exp` says otherwise. */
export async function tokenFor(claims: TokenClaims, secret: string = SECRET): Promise<string> {
  return new SignJWT({ exp: Math.floor(Date.now() / 1000) + 3_600, ...claims })
    .setProtectedHeader({ alg: 'HS256' })
    .sign(new TextEncoder().encode(secret))
}

/** The answer's body as JSON, for tests to look into. */
export const jsonOf = async (res: Response) => (await res.json()) as Record<string, unknown>

/** A moving clock: the system's, shifted. */
export function movingClock(): Clock & { advance(ms: number): void } {
  let shiftMs = 0
  return {
    now: () => systemClock.now() + shiftMs,
    advance(ms) {
      shiftMs += ms
    },
  }
}

/** A lead with one call log, and the addresses of its uploads and its recordings. */
export interface TestLead {
  leadId: string
  callLogId: string
  uploads: string
  recordings: string
}

/** A client with a token of every kind. */
export interface TestClient {
  readonly tokens: { telecaller: string; other: string; supervisor: string; crm: string }
  /** A lead of `telecaller` with one call log. */
  lead(telecallerId?: string): Promise<TestLead>
  api(
    method: string,
    path: string,
    options?: { token?: string | null; body?: unknown; headers?: Record<string, string> },
  ): Promise<Response>
}

export interface TestService extends TestClient {
  readonly dir: string
  readonly service: Service
  readonly url: string
  /** Files under `uploads/` or `recordings/`, as relative paths. */
  files(folder: 'uploads' | 'recordings'): Promise<string[]>
  /** Ends the server and the service, and starts them again on the same folder. */
  restart(env?: Record<string, string>): Promise<void>
  stop(): Promise<void>
}

/** Cleans up after the test that runs, or after the file where none does yet. */
export function afterwards(work: () => Promise<void>): void {
  try {
    onTestFinished(work, 60_000)
  } catch {
    afterAll(work, 60_000)
  }
}

let counter = 0

/** @param url where the server is, asked each time */
export async function clientOf(url: () => string): Promise<TestClient> {
  // Some tests move the clock by days.
  const exp = Math.floor(Date.now() / 1000) + 10 * 365 * 86_400
  const tokens = {
    telecaller: await tokenFor({ sub: 'telecaller-a', exp }),
    other: await tokenFor({ sub: 'telecaller-b', role: 'telecaller', exp }),
    supervisor: await tokenFor({ sub: 'supervisor-s', role: 'supervisor', exp }),
    crm: await tokenFor({ sub: 'crm', role: 'service', exp }),
  }

  const api: TestClient['api'] = (method, where, { token = tokens.telecaller, body, headers = {} } = {}) =>
    fetch(where.startsWith('http') ? where : url() + where, {
      method,
      headers: {
        ...(token === null ? {} : { authorization: `Bearer ${token}` }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined
        ? {}
        : { body: body instanceof Uint8Array || typeof body === 'string' ? (body as string) : JSON.stringify(body) }),
    })

  return {
    tokens,
    api,
    async lead(telecallerId = 'telecaller-a') {
      counter += 1
      const leadId = `lead-${counter}`
      const callLogId = `call-${counter}`
      const made = await api('PUT', `/api/leads/${leadId}`, {
        token: tokens.crm,
        body: { telecaller_id: telecallerId },
      })
      const logged = await api('PUT', `/api/leads/${leadId}/call-logs/${callLogId}`, { token: tokens.crm, body: {} })
      if (made.status !== 201 || logged.status !== 201)
        throw new Error(`the lead was not made: ${made.status}, ${logged.status}`)
      return {
        leadId,
        callLogId,
        uploads: `${url()}/api/leads/${leadId}/uploads`,
        recordings: `${url()}/api/leads/${leadId}/recordings`,
      }
    },
  }
}

/** All files in a folder, as paths relative to it; none where it is missing. */
export async function filesIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => [])
  return entries.filter((e) => e.isFile()).map((e) => path.relative(folder, path.join(e.parentPath, e.name)))
}

export async function startService(
  options: { env?: Record<string, string>; clock?: Clock; log?: Log } = {},
): Promise<TestService> {
  const dir = await mkdtemp(path.join(tmpdir(), 'call-recordings-'))
  let env = { ...options.env }
  let running: RunningServer
  let service: Service
  let port = 0

  async function start() {
    const config = readConfig({
      NODE_ENV: 'test',
      PORT: String(port),
      RECORDINGS_DATA_DIR: dir,
      RECORDINGS_JWT_SECRET: SECRET,
      RECORDINGS_MIN_FREE_SPACE: '0',
      // Durations are looked at: a machine with other work may take seconds to start a thread.
      RECORDINGS_MEDIA_DEADLINE: '30s',
      LOG_LEVEL: process.env.TEST_LOG_LEVEL ?? 'silent',
      ...(await homeOf(dir)),
      ...env,
    })
    service = await createService(config, options.clock, options.log)
    running = await startServer(service)
    port = Number(new URL(running.url).port)
    service.sweep.start()
  }
  let stopped = false
  async function stop() {
    if (stopped) return
    stopped = true
    await running.close()
    await service.close()
  }
  await start()
  afterwards(async () => {
    await stop()
    await rm(dir, { recursive: true, force: true })
  })

  const client = await clientOf(() => running.url)

  return {
    dir,
    get service() {
      return service
    },
    get url() {
      return running.url
    },
    ...client,
    files: async (folder) => (await objectsIn(dir, folder)) ?? filesIn(path.join(dir, folder)),
    async restart(more = {}) {
      await stop()
      stopped = false
      env = { ...env, ...more }
      await start()
    },
    stop,
  }
}

/** The uploads that have bytes of their own: a file, or objects, by their id; what waits beside a file has another name. */
export const idsStaged = async ({ files }: TestService) => [
  ...new Set((await files('uploads')).map((file) => file.split('/')[0])),
]

/** What all handles on staged bytes have in common, in this home: a test puts itself before one of their steps. */
export const handlesOf = ({ ingest }: Service): Staged => Object.getPrototypeOf(ingest.staging.of(newId()))

/** The store fails before, or just behind, the move of a finish's bytes; until what it returns is called. */
export function failingMoves(service: Service, when: 'before' | 'behind' = 'behind'): () => void {
  const handles = handlesOf(service)
  const { moveTo } = handles
  handles.moveTo = async function (this: Staged, key) {
    if (when === 'behind') await moveTo.call(this, key)
    throw Object.assign(new Error('the store fails'), { code: 'EIO' })
  }
  return () => {
    handles.moveTo = moveTo
  }
}

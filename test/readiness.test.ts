/** What `/readyz` says, and how soon: while starting, when what the service stands on is away, while it ends. */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { mkdir, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import { type AddressInfo, createServer as createConnections } from 'node:net'
import path from 'node:path'
import BetterSqlite3 from 'better-sqlite3'
import express from 'express'
import { exportJWK, generateKeyPair } from 'jose'
import { describe, expect, onTestFinished, test } from 'vitest'
import { createEvents } from '../src/events.ts'
import { healthRoutes } from '../src/http/health.ts'
import { listen } from '../src/http/listen.ts'
import { type Checked, createReadiness, REASONS } from '../src/http/readiness.ts'
import { startServer } from '../src/server.ts'
import { readableLog } from './support/log.ts'
import { freePort } from './support/ports.ts'
import { startProcess } from './support/process.ts'
import { startService } from './support/service.ts'

const asked = async (url: string) => {
  const res = await fetch(`${url}/readyz`)
  const told = (await res.json()) as { reasons: string[]; checks: Record<string, boolean> }
  return { ...told, status: res.status }
}
/** What was said is remembered for a second. */
const PATIENT = { timeout: 10_000 }

const reasons = (url: string) => asked(url).then((told) => told.reasons)

test('docs/operating.md lists every reason, and no other', () => {
  const page = readFileSync('docs/operating.md', 'utf8')
  const section = page.slice(page.indexOf('### Health'), page.indexOf('## Traces'))
  const listed = Array.from(section.matchAll(/^\| `(\w+)` \| \S/gm), ([, reason]) => reason)
  expect(listed).toEqual(REASONS)
})

describe('a service', () => {
  test('says why it is not ready, and is again when the reason is gone; the log has a line for each', async () => {
    const { log, line } = readableLog('info')
    const service = await startService({ log })
    expect(await asked(service.url)).toEqual({
      status: 200,
      reasons: [],
      checks: { accepting: true, database: true, storage: true, keys: true, space: true },
    })

    await rm(path.join(service.dir, 'uploads'), { recursive: true })
    await expect.poll(() => reasons(service.url), PATIENT).toEqual(['storage'])
    expect((await asked(service.url)).checks).toMatchObject({ accepting: true, storage: false })
    let said = await line()
    while (said.event !== 'notReady') said = await line()
    expect(said).toMatchObject({ level: 'warn', reasons: ['storage'], err: { code: 'ENOENT' } })

    await mkdir(path.join(service.dir, 'uploads'))
    await expect.poll(() => reasons(service.url), PATIENT).toEqual([])
    while (said.event !== 'readyAgain') said = await line()
    expect(said.level).toBe('info')
  })

  test('whose database does not answer is not ready', async () => {
    const service = await startService()
    const database = new BetterSqlite3(path.join(service.dir, 'recordings.db'))
    database.exec('ALTER TABLE leads RENAME TO elsewhere')
    await expect.poll(() => reasons(service.url), PATIENT).toContain('database')
    database.exec('ALTER TABLE elsewhere RENAME TO leads')
    database.close()
    await expect.poll(() => reasons(service.url), PATIENT).toEqual([])
  })

  test('that has less room than must remain is not ready', async () => {
    const service = await startService({ env: { RECORDINGS_MIN_FREE_SPACE: '100000GiB' } })
    expect(await asked(service.url)).toMatchObject({ status: 503, reasons: ['space'], checks: { space: false } })
  })

  test('that ends says so at once, and playback goes on', async () => {
    const service = await startService()
    expect(await reasons(service.url)).toEqual([])
    service.service.ingest.drain()
    expect(await asked(service.url)).toMatchObject({ status: 503, reasons: ['draining'], checks: { accepting: false } })
  })

  test('whose keys are out of reach is not ready until it has them once', async () => {
    const { publicKey } = await generateKeyPair('ES256')
    const set = JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid: '1', alg: 'ES256' }] })
    let isAway = true
    const login = createServer((_req, res) => (isAway ? res.writeHead(500).end() : res.end(set)))
    login.listen(0, '127.0.0.1')
    await once(login, 'listening')
    onTestFinished(() => void login.close())
    const address = `http://127.0.0.1:${(login.address() as AddressInfo).port}/jwks.json`
    const env = { RECORDINGS_JWT_SECRET: '', RECORDINGS_JWKS_URL: address }
    // The tokens of the tests are another login's: nothing but probes is asked.
    const server = await startProcess({ env })
    expect(await asked(server.url)).toMatchObject({ status: 503, reasons: ['keys'], checks: { keys: false } })
    isAway = false
    await expect.poll(() => reasons(server.url), PATIENT).toEqual([])
    isAway = true
    expect(await reasons(server.url)).toEqual([])
  })

  test('that is starting is alive, and answers what it was asked meanwhile once it is ready, on the same port', async () => {
    const { service: ready } = await startService()
    const listening = await listen({ host: '127.0.0.1', port: 0 })
    const url = `http://127.0.0.1:${(listening.server.address() as AddressInfo).port}`
    expect(await asked(url)).toEqual({ status: 503, reasons: ['starting'], checks: {} })
    expect((await fetch(`${url}/livez`)).status).toBe(200)
    const arrived = once(listening.server, 'request')
    const waiting = fetch(`${url}/api/leads/a/recordings?limit=1`, { method: 'POST', body: Buffer.alloc(1_000_000) })
    await arrived
    const running = await startServer(ready, listening)
    onTestFinished(() => running.close().then(() => {}))
    const answer = await waiting
    expect([answer.status, answer.headers.get('connection')]).toEqual([401, 'close'])
    expect(running.url).toBe(url)
    expect(await reasons(url)).toEqual([])
  })
})

test('a process that waits for its database at the start listens already, and says so', async () => {
  const silent = createConnections(() => {}).listen(0, '127.0.0.1')
  await once(silent, 'listening')
  onTestFinished(() => void silent.close())
  const port = await freePort()
  const database = `postgres://a:b@127.0.0.1:${(silent.address() as AddressInfo).port}/c?sslmode=disable`
  const starting = startProcess({
    env: {
      PORT: String(port),
      RECORDINGS_DATABASE_URL: database,
      RECORDINGS_PLAYBACK_LINK_SECRET: 'of links, with at least thirty-two bytes',
    },
  }).catch((error: Error) => error.message)
  const url = `http://127.0.0.1:${port}`
  await expect.poll(() => reasons(url).catch(() => undefined), PATIENT).toEqual(['starting'])
  expect((await fetch(`${url}/livez`)).status).toBe(200)
  const told = await fetch(`${url}/api/leads`)
  expect([told.status, told.headers.get('connection')]).toEqual([503, 'close'])
  for (const name of ['retry-after', 'x-request-id']) expect(told.headers.get(name)).not.toBeNull()
  expect(await told.json()).toMatchObject({ code: 'unavailable' })
  expect(await starting).toMatch(/PostgreSQL at/)
})

describe('probes', () => {
  const good = async () => {}
  async function startProbed(checked: Partial<Checked>) {
    const { log } = readableLog('silent')
    const all = { database: good, storage: good, keys: good, space: good, ...checked }
    const app = express().use(
      healthRoutes(createReadiness(all, { isDraining: () => false, events: createEvents(log) })),
    )
    const server = createServer(app).listen(0, '127.0.0.1')
    await once(server, 'listening')
    onTestFinished(() => {
      server.closeAllConnections()
      server.close()
    })
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  }

  test('are answered within seconds while the store hangs, which is asked once', async () => {
    let count = 0
    const url = await startProbed({
      storage() {
        count++
        return new Promise(() => {})
      },
    })
    const startedAtMs = performance.now()
    const answers = await Promise.all(Array.from({ length: 20 }, () => asked(url)))
    expect(performance.now() - startedAtMs).toBeLessThan(6_000)
    for (const answer of answers) expect(answer).toMatchObject({ status: 503, reasons: ['storage'] })
    expect(count).toBe(1)
  })

  test('that come by the hundred ask nothing more than one', async () => {
    let count = 0
    const url = await startProbed({
      async storage() {
        count++
      },
    })
    for (let i = 0; i < 5; i++) await Promise.all(Array.from({ length: 20 }, () => asked(url)))
    expect(count).toBeLessThan(5)
  })
})

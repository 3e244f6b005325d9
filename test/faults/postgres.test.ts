/**
 * A service over PostgreSQL that is crashed, silent, or lost on the way, while clients upload. Without the package postgresql
 * it is skipped.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { sendThrough } from '../support/doors.ts'
import { SHARED_SECRETS } from '../support/home.ts'
import { hasPostgres, postgres } from '../support/postgres.ts'
import { postgresLine } from '../support/postgres-line.ts'
import { jsonOf, startService, type TestLead, type TestService } from '../support/service.ts'
import { sha256 } from '../support/stubborn.ts'
import { metadata, noise, tusClient } from '../support/tus.ts'

const CHUNK = 40_000

async function startOverLine() {
  const line = await postgresLine(await (await postgres()).database())
  return { line, harness: await startService({ env: { RECORDINGS_DATABASE_URL: line.url, ...SHARED_SECRETS } }) }
}

interface Recorded {
  size: number
  sha256: string
}

const recordingsOf = async (harness: TestService, lead: TestLead) =>
  (await jsonOf(await harness.api('GET', lead.recordings))).recordings as Recorded[]

/** Uploads in three PATCHes as a client does: after a fault it asks where it stands, and goes on. @returns how often */
async function upload(harness: TestService, lead: TestLead, bytes: Buffer): Promise<number> {
  const tus = tusClient(harness.tokens.telecaller)
  let faults = 0
  async function untilWell<T>(ask: () => Promise<Response>, read: (res: Response) => T | undefined): Promise<T> {
    for (;;) {
      const res = await ask()
      const value = res.ok ? read(res) : undefined
      if (value !== undefined) return value
      if (res.status < 500 && ![409, 423].includes(res.status)) throw new Error(`${res.status}: ${await res.text()}`)
      expect(res.status).not.toBe(500)
      faults += 1
      await sleep(100)
    }
  }
  const named = {
    'upload-length': String(bytes.length),
    'upload-metadata': metadata({ filename: 'call.wav', call_log_id: lead.callLogId }),
  }
  const url = await untilWell(
    () => tus.create(lead.uploads, named),
    (res) => res.headers.get('location') ?? undefined,
  )
  let offset = 0
  while (offset < bytes.length) {
    const from = offset
    const reached = await tus.patch(url, from, bytes.subarray(from, from + CHUNK)).then((res) => {
      if (res.ok) return Number(res.headers.get('upload-offset'))
      expect(res.status).not.toBe(500)
      faults += 1
      return undefined
    })
    const now =
      reached ??
      (await untilWell(
        () => tus.head(url),
        (res) => Number(res.headers.get('upload-offset')),
      ))
    // What was acknowledged is never taken back.
    expect(now).toBeGreaterThanOrEqual(from)
    offset = now
  }
  return faults
}

describe.skipIf(!hasPostgres)('over PostgreSQL (skipped without the package postgresql)', { timeout: 240_000 }, () => {
  test('PostgreSQL crashes while many upload: each recording is there once, with the bytes that were sent', async () => {
    const server = await postgres()
    const harness = await startService({ env: { RECORDINGS_DATABASE_URL: await server.database(), ...SHARED_SECRETS } })
    let isOver = false
    let count = 0
    const work = async () => {
      while (!isOver) {
        const lead = await harness.lead().catch(() => undefined)
        if (!lead) {
          await sleep(100)
          continue
        }
        const bytes = noise(100_000)
        await upload(harness, lead, bytes)
        const recordings = await recordingsOf(harness, lead)
        expect(recordings).toEqual([expect.objectContaining({ size: bytes.length, sha256: sha256(bytes) })])
        count += 1
      }
    }
    const clients = Promise.all(Array.from({ length: 6 }, work))
    for (let i = 0; i < 4; i++) {
      const before = count
      await Promise.race([clients, expect.poll(() => count, { timeout: 60_000 }).toBeGreaterThan(before + 10)])
      await server.crash()
      await server.start()
    }
    isOver = true
    await clients
    await harness.service.sweep.runWhole()
    expect(await harness.files('uploads')).toEqual([])
    expect(await harness.files('recordings')).toHaveLength(count)
  })

  test.for(['answer', 'commit'] as const)(
    'the %s of every commit of an upload is lost once: one recording, by each door',
    async (what) => {
      const { harness, line } = await startOverLine()
      for (const door of ['tus', 'form', 'legacy'] as const) {
        for (let nth = 1; nth <= 4; nth++) {
          const lead = await harness.lead()
          const bytes = noise(50_000)
          line.lose = { count: 1, what, after: nth - 1 }
          const taken = await sendThrough(door, harness, lead, bytes, 'call.wav')
          expect(taken.status).toBeLessThan(300)
          expect(await recordingsOf(harness, lead)).toEqual([expect.objectContaining({ sha256: sha256(bytes) })])
          line.lose = { count: 0, what }
        }
      }
      await harness.service.sweep.runWhole()
      expect(await harness.files('uploads')).toEqual([])
      expect(await harness.files('recordings')).toHaveLength(12)
    },
  )

  test('PostgreSQL is silent: 503 with Retry-After within seconds, and afterwards the upload goes on', async () => {
    const { harness, line } = await startOverLine()
    const tus = tusClient(harness.tokens.telecaller)
    const lead = await harness.lead()
    const bytes = noise(3_000)
    const url = await tus.begin(lead, bytes.length)
    await tus.patch(url, 0, bytes.subarray(0, 1_000))
    line.isSilent = true
    const beganAt = performance.now()
    const answers = await Promise.all([
      tus.patch(url, 1_000, bytes.subarray(1_000, 2_000)),
      harness.api('GET', lead.recordings),
      tus.create(lead.uploads, {
        'upload-length': '10',
        'upload-metadata': metadata({ filename: 'call.wav', call_log_id: lead.callLogId }),
      }),
      harness.api('GET', '/readyz', { token: null }),
    ])
    expect(performance.now() - beganAt).toBeLessThan(9_000)
    expect(answers.map(({ status }) => status)).toEqual([503, 503, 503, 503])
    for (const { headers } of answers.slice(0, 3)) expect(headers.get('retry-after')).not.toBeNull()
    line.isSilent = false
    await expect.poll(async () => (await tus.head(url)).status, { timeout: 20_000 }).toBe(200)
    const offset = Number((await tus.head(url)).headers.get('upload-offset'))
    expect(offset).toBeGreaterThanOrEqual(1_000)
    expect((await tus.patch(url, offset, bytes.subarray(offset))).status).toBe(204)
    expect(await recordingsOf(harness, lead)).toEqual([expect.objectContaining({ sha256: sha256(bytes) })])
  })
})

/** Three instances while what they stand on fails, or one of them does: what clients hear, and that nothing is lost. */
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect } from 'vitest'
import { expectSwept } from '../../support/accounts.ts'
import { startCluster } from '../../support/cluster.ts'
import { inBucket, isS3 } from '../../support/home.ts'
import { postgres } from '../../support/postgres.ts'
import { type ServerProcess, watchLivez } from '../../support/process.ts'
import { connectTo } from '../../support/raw.ts'
import { startS3 } from '../../support/s3.ts'
import { type SeverableLine, severableLine } from '../../support/severable.ts'
import { type Fault, faultyStore, type Kind } from '../../support/store-faults.ts'
import { storeThrough } from '../../support/store-through.ts'
import { type Heard, sha256 } from '../../support/stubborn.ts'
import { noise, OFFSET_TYPE, tusClient } from '../../support/tus.ts'

/**
 * `OUTAGE_SECONDS=20 OUTAGES=5 npm run test:outages`
 * is the long run: each outage lasts so long, and comes so often.
 */
const OUTAGE_MS = Number(process.env.OUTAGE_SECONDS ?? 1.5) * 1_000
const OUTAGES = Number(process.env.OUTAGES ?? 1)
/** A silent store is given up after three tries. */
const GIVEN_UP_MS = 18_000
/** Of uploads that an instance has when it goes. */
const EACH = 2

const faults = await faultyStore(isS3 ? (await startS3()).endpoint : 'http://127.0.0.1:9')
let line: SeverableLine
/** The last one has a line of its own to the database. */
const cluster = await startCluster(async (n, home) => {
  const env = { RECORDINGS_S3_ENDPOINT: faults.endpoint }
  const { RECORDINGS_DATABASE_URL: url } = home
  if (n < 2 || url === undefined) return env
  line = await severableLine(url)
  return { ...env, RECORDINGS_DATABASE_URL: line.through(url) }
})
const { all, client, at } = cluster
const [a, b, c] = all as [ServerProcess, ServerProcess, ServerProcess]
const token = client.tokens.telecaller
const tus = tusClient(token)

const failing = (fault: () => Fault) => ({ begin: () => faults.fail(fault), end: () => faults.mend() })

interface Outage {
  begin(): unknown
  end(): unknown
  /** What a PATCH in the middle may hear. Where that is one thing alone, the outage lasts until it was told. */
  told: readonly number[]
}

const SILENT: Outage = { ...failing(() => ({ silentMs: 60_000 })), told: OUTAGE_MS < GIVEN_UP_MS ? [204, 503] : [503] }
const outages: Record<string, Outage> = {
  'PostgreSQL is killed': {
    begin: async () => (await postgres()).kill(),
    end: async () => (await postgres()).start(),
    told: [204, 503],
  },
  'the store is slow': { ...failing(() => ({ delayMs: 300 + Math.random() * 1_700 })), told: [204] },
  'the store refuses connections': { begin: () => faults.refuse(), end: () => faults.accept(), told: [503] },
  'the store asks to slow down': { ...failing(() => ({ status: 503, code: 'SlowDown' })), told: [503] },
  'the store is full': { ...failing(() => ({ status: 507, code: 'QuotaExceeded' })), told: [507] },
  'the store is silent': SILENT,
}

/** A PATCH in the middle of an upload: neither its first bytes nor its last ones. */
async function patchInTheMiddle(url: string) {
  const startedAtMs = performance.now()
  const res = await tus.patch(at(a, url), 1_000, noise(1_000))
  return { status: res.status, retryAfter: res.headers.get('retry-after'), ms: performance.now() - startedAtMs }
}

async function begunUpload() {
  const url = await tus.begin(await client.lead(), 3_000)
  expect((await tus.patch(at(a, url), 0, noise(1_000))).status).toBe(204)
  return url
}

describe('three instances', () => {
  inBucket(
    'whose database is killed and started again, and whose store is slow, refuses, is full or silent: clients hear when to try again, /livez answers, and nothing is lost',
    { timeout: 120_000 + OUTAGES * 6 * (OUTAGE_MS + 60_000) },
    async () => {
      const heard: Heard = {}
      const told: Record<string, string[]> = {}
      const counts = await storeThrough(
        a,
        async (stored) => {
          const progress = async () => {
            const before = stored.length
            await expect.poll(() => stored.length, { timeout: 60_000 }).toBeGreaterThan(before + 2)
          }
          for (const [name, outage] of Array.from({ length: OUTAGES }, () => Object.entries(outages)).flat()) {
            await progress()
            const url = await begunUpload()
            const livez = await watchLivez(b.url)
            await outage.begin()
            const answering = patchInTheMiddle(url)
            await Promise.all([sleep(OUTAGE_MS), outage.told.length === 1 && answering])
            await outage.end()
            const answer = await answering
            const slowestMs = Math.max(...(await livez()))
            told[name] ??= []
            told[name].push(`${answer.status} after ${answer.ms.toFixed()} ms, /livez ${slowestMs.toFixed()} ms`)
            expect(outage.told, name).toContain(answer.status)
            if (answer.status >= 500) expect(answer.retryAfter).toMatch(/^[1-9]\d*$/)
            expect(slowestMs, `/livez while ${name}`).toBeLessThan(2_000)
          }
          await progress()
        },
        { client, settle: cluster.settle, heard },
      )
      console.log(`${OUTAGES} outages of each kind: ${JSON.stringify({ counts, heard, told }, undefined, 1)}`)
    },
  )

  /** A PATCH of which so many bytes are sent. */
  async function begunPatch(instance: ServerProcess, url: string, offset: number, body: Buffer, sent = body.length) {
    const address = at(instance, url)
    const connection = await connectTo(address, { authorization: `Bearer ${token}` })
    connection.head('PATCH', address, {
      ...{ 'tus-resumable': '1.0.0', 'content-type': OFFSET_TYPE, 'upload-offset': String(offset) },
      'content-length': String(body.length),
    })
    connection.send(body.subarray(0, sent))
    return connection
  }

  const THIRD = 50_000

  /** What an instance is at when it goes: bytes that still come, bytes in the middle, the last ones. */
  const moments: Record<string, { to: number; sent: number }> = {
    'half a PATCH has come': { to: 2 * THIRD, sent: THIRD / 2 },
    'a PATCH is being stored': { to: 2 * THIRD, sent: THIRD },
    'the recording is being stored': { to: 3 * THIRD, sent: 2 * THIRD },
  }

  /** Uploads of which the first third is acknowledged, and the instance is at more when it goes. */
  async function underWay(instance: ServerProcess) {
    const uploads = Object.entries(moments).flatMap(([what, moment]) =>
      Array.from({ length: EACH }, () => ({ what, ...moment })),
    )
    const isStored = (kind: Kind) => kind === 'put'
    faults.fail(({ kind }) => (isStored(kind) ? { delayMs: 2_500 } : undefined))
    faults.forget()
    const begun = await Promise.all(
      uploads.map(async ({ what, to, sent }) => {
        const lead = await client.lead()
        const [first, rest, late] = [noise(THIRD), noise(2 * THIRD), noise(to - THIRD)]
        const url = await tus.begin(lead, 3 * THIRD)
        expect((await tus.patch(at(instance, url), 0, first)).status).toBe(204)
        const connection = await begunPatch(instance, url, THIRD, late, sent)
        return { what, lead, url, first, rest, connection, isStored: sent === to - THIRD }
      }),
    )
    const stored = begun.length + begun.filter((each) => each.isStored).length
    await expect.poll(() => faults.counts.put ?? 0, { interval: 5 }).toBeGreaterThanOrEqual(stored)
    faults.mend()
    return begun
  }

  /** Other bytes go to another instance, and are what is recorded. @returns how long it took to have each upload there */
  async function takenOver(begun: Awaited<ReturnType<typeof underWay>>, by: ServerProcess): Promise<number[]> {
    return Promise.all(
      begun.map(async ({ what, url, rest }) => {
        const startedAtMs = performance.now()
        let head = await tus.head(at(by, url))
        // Where it went in the middle of a commit, PostgreSQL ends its transaction after four seconds.
        while (head.status === 503) head = await tus.head(at(by, url))
        expect([what, head.status, head.headers.get('upload-offset')]).toEqual([what, 200, String(THIRD)])
        const tookMs = performance.now() - startedAtMs
        const res = await tus.patch(at(by, url), THIRD, rest)
        expect([what, res.status, res.headers.has('recording-id')]).toEqual([what, 204, true])
        return tookMs
      }),
    )
  }

  async function expectTheirs(begun: Awaited<ReturnType<typeof underWay>>) {
    for (const { what, lead, url, first, rest, connection } of begun) {
      const late = await connection.answer().catch(() => undefined)
      connection.destroy()
      expect([undefined, 409, 423, 503], what).toContain(late?.status)
      const head = await tus.head(url)
      const played = await client.api('GET', `/api/leads/${lead.leadId}/recordings/${head.headers.get('recording-id')}`)
      expect(sha256(Buffer.from(await played.arrayBuffer())), what).toBe(sha256(Buffer.concat([first, rest])))
    }
    const leadIds = begun.map(({ lead }) => lead.leadId)
    for (const leadId of leadIds) {
      const { recordings } = (await (await client.api('GET', `/api/leads/${leadId}/recordings`)).json()) as {
        recordings: unknown[]
      }
      expect(recordings).toHaveLength(1)
    }
    return leadIds
  }

  const inWords = (ms: number[]) => `${ms.map((each) => each.toFixed()).join(', ')} ms`

  inBucket(
    'of which one is frozen: another has its uploads at once, and what it does when it wakes changes nothing',
    { timeout: 120_000 },
    async () => {
      await cluster.up({ RECORDINGS_UPLOAD_EXPIRES_AFTER: '1h' })
      const begun = await underWay(b)
      process.kill(b.pid, 'SIGSTOP')
      const tookMs = await takenOver(begun, a)
      process.kill(b.pid, 'SIGCONT')
      console.log(`taken from an instance that is frozen: ${inWords(tookMs)}`)
      const leadIds = await expectTheirs(begun)
      await cluster.settle()
      await expectSwept(a, leadIds, leadIds.length)
    },
  )

  inBucket(
    'of which one is cut off from the database: it says 503, another has its uploads at once, and it goes on when the line is there again',
    { timeout: 120_000 },
    async () => {
      await cluster.up({ RECORDINGS_UPLOAD_EXPIRES_AFTER: '1h' })
      const url = await begunUpload()
      const begun = await underWay(c)
      line.cut()
      const cutOff = tus.patch(at(c, url), 1_000, noise(1_000))
      const tookMs = await takenOver(begun, a)
      console.log(`taken from an instance that is cut off: ${inWords(tookMs)}`)
      const answer = await cutOff
      expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '2'])
      line.heal()
      await expect.poll(async () => (await tus.head(at(c, url))).status, { timeout: 20_000 }).toBe(200)
      expect((await tus.patch(at(c, url), 1_000, noise(2_000))).status).toBe(204)
      const leadIds = await expectTheirs(begun)
      await cluster.settle()
      await expectSwept(a, leadIds, leadIds.length)
    },
  )

  inBucket(
    'of which one could not finish an upload that another has gone on with: it tells where the upload stands now',
    { timeout: 60_000 },
    async () => {
      await cluster.up({ RECORDINGS_UPLOAD_EXPIRES_AFTER: '1h' })
      const [first, late, rest] = [noise(THIRD), noise(THIRD), noise(THIRD)]
      const lead = await client.lead()
      const url = await tus.begin(lead, 2 * THIRD)
      expect((await tus.patch(at(c, url), 0, first)).status).toBe(204)
      faults.fail(({ kind }) => (kind === 'put' ? { delayMs: 500 } : undefined))
      faults.forget()
      const unfinished = tus.patch(at(c, url), THIRD, late)
      await expect.poll(() => faults.counts.put ?? 0, { interval: 5 }).toBe(1)
      line.cut()
      faults.mend()
      expect((await unfinished).status).toBe(503)
      expect((await tus.patch(at(a, url), THIRD, rest.subarray(0, 1_000))).status).toBe(204)
      line.heal()
      const told = [await tus.head(at(c, url))]
      while ([503, 423].includes(told[0]?.status as number)) told.unshift(await tus.head(at(c, url)))
      expect([told[0]?.status, told[0]?.headers.get('upload-offset')]).toEqual([200, String(THIRD + 1_000)])
      expect((await tus.patch(at(c, url), THIRD + 1_000, rest.subarray(1_000))).status).toBe(204)
      const recording = (await tus.head(at(c, url))).headers.get('recording-id')
      const played = await client.api('GET', `/api/leads/${lead.leadId}/recordings/${recording}`)
      expect(sha256(Buffer.from(await played.arrayBuffer()))).toBe(sha256(Buffer.concat([first, rest])))
      await cluster.settle()
      await expectSwept(a, [lead.leadId], 1)
    },
  )
})

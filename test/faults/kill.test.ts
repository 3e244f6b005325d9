import { request as httpRequest } from 'node:http'
import { PassThrough } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { type ServerProcess, startProcess } from '../support/process.ts'
import { jsonOf } from '../support/service.ts'
import { storeThrough } from '../support/store-through.ts'
import { sha256 } from '../support/stubborn.ts'
import { noise, OFFSET_TYPE, tusClient } from '../support/tus.ts'

/** `KILLS=300 npx vitest run --config vitest.faults.config.ts test/faults/kill.test.ts` is the long run. */
const KILLS = Number(process.env.KILLS ?? 10)
const RESTARTS = 8

/** What the server that runs now has logged before it is killed. */
const BEFORE_A_KILL = [undefined, 'uploadCreated', 'uploadFinished'] as const

/** Resolves when the server that runs now has logged the event, however slow the machine is. */
async function come(server: ServerProcess, event: string | undefined): Promise<void> {
  if (event === undefined) return
  const startedAt = server.lines.findLastIndex(({ msg }) => msg === 'listening')
  const isThere = () => server.lines.slice(startedAt).some((line) => line.event === event)
  await expect.poll(isThere, { interval: 5, timeout: 20_000 }).toBe(true)
}

const MANY = { RECORDINGS_MAX_UPLOADS_PER_CALLER: '100000' }

test(
  `clients that upload through ${KILLS} kill -9 at random moments keep what was acknowledged, and get exactly one recording for each file`,
  async () => {
    const server = await startProcess({ env: MANY })
    const counts = await storeThrough(server, async () => {
      for (let i = 0; i < KILLS; i++) {
        // At any moment of a server's life: as it starts, as uploads begin, and when one has been looked into.
        await come(server, BEFORE_A_KILL[i % BEFORE_A_KILL.length])
        await sleep(Math.random() * 400)
        await server.kill('SIGKILL')
        await server.restart()
      }
    })
    console.log(`stored through ${KILLS} kills: ${JSON.stringify(counts)}`)
    expect(Math.min(...Object.values(counts))).toBeGreaterThan(3)
  },
  60_000 + KILLS * 12_000, // what hangs is told from what is slow
)

test('clients that upload through restarts by SIGTERM: each ends in order, and nothing is lost or doubled', async () => {
  const server = await startProcess({ env: MANY })
  const tookMs: number[] = []
  const counts = await storeThrough(server, async () => {
    for (let i = 0; i < RESTARTS; i++) {
      await sleep(300 + Math.random() * 500)
      const startedAtMs = performance.now()
      expect(await server.kill('SIGTERM')).toEqual({ code: 0, signal: null })
      tookMs.push(performance.now() - startedAtMs)
      await server.restart()
    }
  })
  console.log(
    `stored through ${RESTARTS} restarts: ${JSON.stringify(counts)}; the slowest end: ${Math.max(...tookMs).toFixed()} ms`,
  )
  expect(Math.max(...tookMs)).toBeLessThan(14_000)
  expect(server.lines.filter((line) => line.level === 'fatal')).toEqual([])
}, 120_000)

test('a request that goes on for long loses no more than its last seconds to kill -9', async () => {
  const server = await startProcess()
  const lead = await server.lead()
  const tus = tusClient(server.tokens.telecaller)
  const bytes = noise(1_000_000)
  const url = await tus.begin(lead, bytes.length)
  const body = new PassThrough()
  const request = httpRequest(url, {
    method: 'PATCH',
    headers: {
      authorization: `Bearer ${server.tokens.telecaller}`,
      'tus-resumable': '1.0.0',
      'upload-offset': 0,
      'content-type': OFFSET_TYPE,
      'content-length': bytes.length,
    },
  })
  request.on('error', () => {})
  body.pipe(request)
  let sent = 0
  const startedAtMs = performance.now()
  while (performance.now() - startedAtMs < 7_000) {
    body.write(bytes.subarray(sent, sent + 10_000))
    sent += 10_000
    await sleep(100)
  }
  await server.kill('SIGKILL')
  await server.restart()
  const offset = Number((await tus.head(url)).headers.get('upload-offset'))
  expect(offset).toBeGreaterThan(sent / 2)
  expect(offset).toBeLessThanOrEqual(sent)
  const last = await tus.patch(url, offset, bytes.subarray(offset))
  const details = await jsonOf(await server.api('GET', `${last.headers.get('content-location')}/details`))
  expect(details.sha256).toBe(sha256(bytes))
}, 30_000)

import { once } from 'node:events'
import { stat } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { expectLivezAnswers, wrapper } from '../support/beside-stall.ts'
import { type ServerProcess, startProcess } from '../support/process.ts'
import { jsonOf, type TestLead } from '../support/service.ts'
import { startMeasured } from '../support/stretches.ts'
import { sha256 } from '../support/stubborn.ts'
import { noise, OFFSET_TYPE, tusClient } from '../support/tus.ts'

const MiB = 2 ** 20

/** A connection with the head of a PATCH sent; its body is the test's. */
async function openPatch(url: string, token: string, offset: number, length: number) {
  const { hostname, port, pathname } = new URL(url)
  const socket: Socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true })
  socket.on('error', () => {})
  let answer = ''
  socket.on('data', (bytes) => {
    answer += bytes.toString('latin1')
  })
  await once(socket, 'connect')
  const head = [
    `PATCH ${pathname} HTTP/1.1`,
    'Host: localhost',
    `Authorization: Bearer ${token}`,
    'Tus-Resumable: 1.0.0',
    `Upload-Offset: ${offset}`,
    `Content-Type: ${OFFSET_TYPE}`,
    `Content-Length: ${length}`,
  ]
  socket.write(`${head.join('\r\n')}\r\n\r\n`)
  return {
    socket,
    answer: () => answer,
    write: (bytes: Buffer) => new Promise<void>((resolve) => socket.write(bytes, () => resolve())),
  }
}

async function begun(server: ServerProcess, lead: TestLead, length: number) {
  const tus = tusClient(server.tokens.telecaller)
  return { tus, url: await tus.begin(lead, length) }
}

const offsetOf = (res: Response) => Number(res.headers.get('upload-offset'))

/** The server has read so much of the bodies that come. */
async function onDisk(server: ServerProcess, bytes: number): Promise<void> {
  await expect
    .poll(
      async (): Promise<number> => {
        const files = await server.files('uploads')
        const sizes = await Promise.all(files.map(async (file) => (await stat(`${server.dir}/uploads/${file}`)).size))
        return sizes.reduce((sum, size) => sum + size, 0)
      },
      { timeout: 20_000 },
    )
    .toBe(bytes)
}

/** An upload whose PATCH has brought its first `sent` bytes, stored by now, and is still open. */
async function underWay(length: number, sent: number) {
  const server = await startProcess()
  const lead = await server.lead()
  const bytes = noise(length)
  const { tus, url } = await begun(server, lead, bytes.length)
  const patch = await openPatch(url, server.tokens.telecaller, 0, bytes.length)
  await patch.write(bytes.subarray(0, sent))
  await onDisk(server, sent)
  return { server, bytes, tus, url, patch }
}

/** HEAD tells the offset, and waits for no dead connection. */
async function expectToldAtOnce(tus: ReturnType<typeof tusClient>, url: string, offset: number): Promise<void> {
  const startedAtMs = performance.now()
  const head = await tus.head(url)
  expect(performance.now() - startedAtMs).toBeLessThan(500)
  expect(offsetOf(head)).toBe(offset)
}

describe('a connection that ends in the middle of a PATCH', { timeout: 20_000 }, () => {
  test.for([
    ['FIN', 'end'],
    ['RST', 'resetAndDestroy'],
  ] as const)('by %s: what came is kept, and the upload goes on there', async ([, end]) => {
    const { bytes, tus, url, patch } = await underWay(400_000, 150_000)
    patch.socket[end]()
    await expectToldAtOnce(tus, url, 150_000)
    const last = await tus.patch(url, 150_000, bytes.subarray(150_000))
    expect(last.headers.get('recording-id')).not.toBeNull()
  })

  test('by silence: ended after the idle timeout, what came is kept; one that moves is left alone', async () => {
    const server = await startProcess({ env: { RECORDINGS_IDLE_TIMEOUT: '1s' } })
    const lead = await server.lead()
    const bytes = noise(200_000)
    const silent = await begun(server, lead, bytes.length)
    const moving = await begun(server, lead, bytes.length)
    const one = await openPatch(silent.url, server.tokens.telecaller, 0, bytes.length)
    const other = await openPatch(moving.url, server.tokens.telecaller, 0, bytes.length)
    await one.write(bytes.subarray(0, 70_000))
    const startedAtMs = performance.now()
    let closedAfterMs = 0
    one.socket.on('close', () => {
      closedAfterMs = performance.now() - startedAtMs
    })
    one.socket.on('end', () => one.socket.destroy())
    for (let at = 0; at < bytes.length; at += 20_000) {
      await other.write(bytes.subarray(at, at + 20_000))
      await sleep(400)
    }
    await expect.poll(() => other.answer()).toMatch(/^HTTP\/1.1 204/)
    expect(closedAfterMs).toBeGreaterThan(900)
    expect(closedAfterMs).toBeLessThan(3_000)
    await server.line((line) => line.event === 'connectionSilent')
    expect(offsetOf(await silent.tus.head(silent.url))).toBe(70_000)
    other.socket.destroy()
  })
})

describe('an upload that another request wants', { timeout: 90_000 }, () => {
  test('is taken over from a silent connection at once, and its late bytes never land', async () => {
    const { server, bytes, tus, url, patch: old } = await underWay(300_000, 100_000)
    await expectToldAtOnce(tus, url, 100_000)
    const wrong = Buffer.alloc(50_000, 'x')
    await old.write(wrong)
    const next = tus.patch(url, 100_000, bytes.subarray(100_000))
    await old.write(wrong)
    const last = await next
    expect(last.status).toBe(204)
    const played = await server.api('GET', last.headers.get('content-location') as string)
    expect(sha256(Buffer.from(await played.arrayBuffer()))).toBe(sha256(bytes))
    expect(old.answer()).toMatch(/^HTTP\/1.1 423/)
    old.socket.destroy()
  })

  test('is taken over from a living connection within a second, which has stored what it had', async () => {
    const server = await startProcess()
    const lead = await server.lead()
    const bytes = noise(64 * MiB)
    const { tus, url } = await begun(server, lead, bytes.length)
    const old = await openPatch(url, server.tokens.telecaller, 0, bytes.length)
    let sending = true
    const stream = (async () => {
      for (let at = 0; sending && at < bytes.length; at += 65_536) {
        await old.write(bytes.subarray(at, at + 65_536))
        await sleep(2)
      }
    })()
    await sleep(500)
    const startedAtMs = performance.now()
    const head = await tus.head(url)
    const tookMs = performance.now() - startedAtMs
    sending = false
    old.socket.destroy()
    await stream
    const offset = offsetOf(head)
    expect(tookMs).toBeLessThan(1_000)
    expect(offset).toBeGreaterThan(65_536)
    const last = await tus.patch(url, offset, bytes.subarray(offset))
    const { sha256: stored } = await jsonOf(await server.api('GET', `${last.headers.get('content-location')}/details`))
    expect(stored).toBe(sha256(bytes))
  })

  test('200 silent uploads are taken over at once, while /livez answers in under 100 ms', async () => {
    const server = await startMeasured({
      env: { RECORDINGS_MAX_UPLOADS_PER_CALLER: '1000' },
      // What else the machine does is not what is measured.
      wrapper,
    })
    const lead = await server.lead()
    const bytes = noise(20_000)
    const uploads = await Promise.all(
      Array.from({ length: 200 }, async () => {
        const { tus, url } = await begun(server, lead, bytes.length)
        const old = await openPatch(url, server.tokens.telecaller, 0, bytes.length)
        await old.write(bytes.subarray(0, 5_000))
        return { tus, url, old }
      }),
    )
    await onDisk(server, 200 * 5_000)
    // The first hundreds of requests of a process are compiled as they run.
    const warm = await begun(server, lead, 10)
    for (let i = 0; i < 300; i++) await warm.tus.head(warm.url)
    async function askAll(): Promise<number> {
      const startedAtMs = performance.now()
      const offsets = await Promise.all(uploads.map(async ({ tus, url }) => offsetOf(await tus.head(url))))
      expect(new Set(offsets)).toEqual(new Set([5_000]))
      return performance.now() - startedAtMs
    }
    let tookMs = Number.POSITIVE_INFINITY
    const takeOver = async () => {
      tookMs = await askAll()
    }
    await expectLivezAnswers(server, takeOver, 'turnsOnce')
    // The same with nothing left to take over: what this machine needs just now.
    const usualMs = await askAll()
    console.log(`200 taken over in ${Math.round(tookMs)} ms, asked again in ${Math.round(usualMs)} ms`)
    expect(tookMs).toBeLessThan(Math.max(2_000, 5 * usualMs))
    await Promise.all(
      uploads.map(async ({ tus, url, old }) => {
        expect((await tus.patch(url, 5_000, bytes.subarray(5_000))).status).toBe(204)
        old.socket.destroy()
      }),
    )
  })
})

test('1,000 slow uploads open at once: memory and open files stay in bounds, and all arrive', async () => {
  const server = await startProcess({ env: { RECORDINGS_MAX_UPLOADS_PER_CALLER: '2000' } })
  const lead = await server.lead()
  const before = { ...(await server.memory()), files: await server.openFiles() }
  const pieces = 8
  const bytes = noise(pieces * 4_000)
  const uploads: Awaited<ReturnType<typeof openPatch>>[] = []
  for (let i = 0; i < 20; i++) {
    const some = Array.from({ length: 50 }, async () => {
      const { url } = await begun(server, lead, bytes.length)
      return openPatch(url, server.tokens.telecaller, 0, bytes.length)
    })
    uploads.push(...(await Promise.all(some)))
  }
  let highest = { rssBytes: 0, files: 0 }
  for (let at = 0; at < pieces; at++) {
    await Promise.all(uploads.map(({ write }) => write(bytes.subarray(at * 4_000, (at + 1) * 4_000))))
    const now = { rssBytes: (await server.memory()).rssBytes, files: await server.openFiles() }
    highest = {
      rssBytes: Math.max(highest.rssBytes, now.rssBytes),
      files: Math.max(highest.files, now.files),
    }
    if (at < pieces - 1) await sleep(900)
  }
  await expect
    .poll(() => uploads.filter(({ answer }) => answer().startsWith('HTTP/1.1 204')).length, { timeout: 20_000 })
    .toBe(1_000)
  const mib = (n: number) => Math.round(n / MiB)
  console.log(
    `1,000 slow uploads: ${mib(before.rssBytes)} → ${mib(highest.rssBytes)} MiB, ${before.files} → ${highest.files} open files`,
  )
  expect(highest.rssBytes).toBeLessThan(350 * MiB)
  // A socket and a file for each.
  expect(highest.files).toBeLessThan(before.files + 2_100)
  for (const { socket } of uploads) socket.destroy()
  // The connections that began them are kept alive.
  await expect.poll(() => server.openFiles(), { timeout: 10_000 }).toBeLessThan(before.files + 80)
}, 90_000)

test("100 MB up and down: the server's memory stays under 200 MB", async () => {
  const server = await startProcess()
  const lead = await server.lead()
  const bytes = noise(100_000_000)
  const { tus, url } = await begun(server, lead, bytes.length)
  const step = 25_000_000
  for (let at = 0; at < bytes.length; at += step) await tus.patch(url, at, bytes.subarray(at, at + step))
  const head = await tus.head(url)
  const address = head.headers.get('content-location') as string
  const played = await server.api('GET', address)
  expect(sha256(Buffer.from(await played.arrayBuffer()))).toBe(sha256(bytes))
  const { peakBytes } = await server.memory()
  console.log(`100 MB up and down: ${Math.round(peakBytes / 1e6)} MB at the highest`)
  expect(peakBytes).toBeLessThan(200_000_000)
}, 60_000)

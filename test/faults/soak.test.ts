import { once } from 'node:events'
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { startProcess } from '../support/process.ts'
import { metadata, noise, OFFSET_TYPE } from '../support/tus.ts'

const SOAK_MS = 60_000
const AT_ONCE = 24
const FIFTHS = 5
const MiB = 2 ** 20

/** The heap after a full collection, asked of the process from outside through its inspector. */
async function inspectorOf(url: string) {
  const socket = new WebSocket(url)
  await once(socket, 'open')
  let lastId = 0
  const call = (method: string, params: Record<string, unknown> = {}) =>
    new Promise<{ result: { value: number } }>((resolve) => {
      const id = ++lastId
      const onMessage = (event: MessageEvent) => {
        const message = JSON.parse(String(event.data))
        if (message.id !== id) return
        socket.removeEventListener('message', onMessage)
        resolve(message.result)
      }
      socket.addEventListener('message', onMessage)
      socket.send(JSON.stringify({ id, method, params }))
    })
  await call('HeapProfiler.enable')
  return {
    async heapBytes() {
      await call('HeapProfiler.collectGarbage')
      const { result } = await call('Runtime.evaluate', { expression: 'process.memoryUsage().heapUsed' })
      return result.value
    },
    close: () => socket.close(),
  }
}

test(
  `an hour's work in ${SOAK_MS / 1_000} s: the heap after a collection is as large at the end as at the beginning`,
  async () => {
    const server = await startProcess({
      nodeArguments: ['--inspect=127.0.0.1:0'],
      env: { RECORDINGS_MAX_UPLOADS_PER_CALLER: '100000' },
    })
    const [inspectorUrl = ''] = /ws:\/\/\S+/.exec(server.stderr) ?? []
    const inspector = await inspectorOf(inspectorUrl)
    const agent = new Agent({ keepAlive: true, maxSockets: AT_ONCE })
    const lead = await server.lead()
    const body = noise(8_000)

    async function send(method: string, url: string, headers: Record<string, string>, bytes?: Buffer) {
      const request = httpRequest(url, {
        method,
        agent,
        headers: {
          authorization: `Bearer ${server.tokens.telecaller}`,
          ...headers,
          ...(bytes && { 'content-length': bytes.length }),
        },
      })
      request.end(bytes)
      const [response] = (await once(request, 'response')) as [IncomingMessage]
      response.resume()
      await once(response, 'end')
      return response
    }

    const tus = { 'tus-resumable': '1.0.0' }
    async function upload(n: number) {
      const created = await send('POST', lead.uploads, {
        ...tus,
        'upload-length': String(body.length),
        'upload-metadata': metadata({ filename: 'call.wav', call_log_id: lead.callLogId }),
      })
      const url = created.headers.location as string
      const patch = (from: number, to: number) =>
        send(
          'PATCH',
          url,
          { ...tus, 'upload-offset': String(from), 'content-type': OFFSET_TYPE },
          body.subarray(from, to),
        )
      // One in ten is given up, one in ten is looked at in between.
      if (n % 10 === 0) {
        await patch(0, 4_000)
        await send('DELETE', url, tus)
        return
      }
      if (n % 10 === 1) await patch(0, 4_000)
      const last = await patch(n % 10 === 1 ? 4_000 : 0, body.length)
      expect(last.headers['recording-id']).toBeDefined()
      if (n % 10 === 2) await send('GET', last.headers['content-location'] as string, {})
      if (n % 10 === 3) await send('DELETE', last.headers['content-location'] as string, {})
    }

    let count = 0
    let working = true
    const workers = Array.from({ length: AT_ONCE }, async () => {
      while (working) await upload(count++)
    })
    const heaps: number[] = []
    const sizes: number[] = []
    for (let fifth = 0; fifth < FIFTHS; fifth++) {
      await sleep(SOAK_MS / FIFTHS)
      heaps.push(await inspector.heapBytes())
      sizes.push((await server.memory()).rssBytes)
    }
    working = false
    await Promise.all(workers)
    inspector.close()
    const inMiB = (list: number[]) => list.map((bytes) => (bytes / MiB).toFixed(1)).join(', ')
    console.log(`${count} uploads; heap after each fifth: ${inMiB(heaps)} MiB; resident: ${inMiB(sizes)} MiB`)
    expect(count).toBeGreaterThan(3_000)
    const [first = 0] = heaps
    expect(heaps.at(-1)).toBeLessThan(first + 8 * MiB)
    // Those that were played are kept open for a moment.
    await expect.poll(() => server.openFiles(), { timeout: 10_000 }).toBeLessThan(100)
    agent.destroy()
  },
  SOAK_MS + 60_000,
)

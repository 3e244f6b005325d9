import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import http from 'node:http'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { describe, expect, test } from 'vitest'
import { type ServerProcess, startProcess } from '../support/process.ts'
import { afterwards, jsonOf } from '../support/service.ts'
import { sha256 } from '../support/stubborn.ts'
import { noise, OFFSET_TYPE, tusClient } from '../support/tus.ts'

function hasStrace(): boolean {
  const { status, error } = spawnSync('strace', ['-V'])
  if (status !== 0 && process.env.CI === 'true') throw error ?? new Error('strace is missing')
  return status === 0
}

/** Has a running server's calls on one path fail; gives what waits for the next one that was made. */
async function failing(server: ServerProcess, file: string, inject: string): Promise<() => Promise<string>> {
  const [name = ''] = inject.split(':')
  const calls = ['-e', `trace=${name}`, '-e', `inject=${inject}`, '-P', file]
  const strace = spawn('strace', ['-f', '-y', '-p', String(server.pid), ...calls], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const lines: string[] = []
  let wake = () => {}
  createInterface(strace.stderr).on('line', (line) => {
    lines.push(line)
    wake()
  })
  afterwards(async () => {
    strace.kill('SIGINT')
    if (strace.exitCode === null && strace.signalCode === null) await once(strace, 'close')
  })
  const next = async (fits: (line: string) => boolean) => {
    for (;;) {
      const at = lines.findIndex(fits)
      if (at >= 0) return lines.splice(0, at + 1).at(-1) as string
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    }
  }
  await next((line) => /attached/.test(line))
  return () => next((line) => line.includes(name) && / = /.test(line))
}

describe.skipIf(!hasStrace())('a sync that fails while a request goes on', { timeout: 60_000 }, () => {
  test.for([
    ['at first', 'first', 0],
    ['later on', 'second', 1_000],
  ] as const)('%s fails the request, and the upload goes back to what was synced before', async ([, which, offset]) => {
    const server = await startProcess({ env: { UV_THREADPOOL_SIZE: '1' } })
    const lead = await server.lead()
    const tus = tusClient(server.tokens.telecaller)
    const bytes = noise(3_000)
    const url = await tus.begin(lead, bytes.length)
    const file = path.join(server.dir, 'uploads', path.basename(url))
    // The calls are counted for each thread: a pool of one makes them one sequence.
    const synced = await failing(server, file, `fdatasync:error=EIO:when=${which === 'first' ? 1 : 2}`)
    const request = http.request(url, {
      method: 'PATCH',
      headers: {
        authorization: `Bearer ${server.tokens.telecaller}`,
        'tus-resumable': '1.0.0',
        'upload-offset': '0',
        'content-type': OFFSET_TYPE,
        'content-length': String(bytes.length),
      },
    })
    const answered = once(request, 'response') as Promise<[http.IncomingMessage]>
    request.on('error', () => {})
    request.write(bytes.subarray(0, 1_000))
    if (which === 'second') {
      expect(await synced()).toMatch(/ = 0$/)
      request.write(bytes.subarray(1_000, 2_000))
    }
    expect(await synced()).toContain('EIO')
    request.end(bytes.subarray(which === 'second' ? 2_000 : 1_000))
    const [answer] = await answered
    expect([answer.statusCode, answer.headers['retry-after']]).toEqual([503, '2'])
    answer.resume()

    const head = await tus.head(url)
    expect([head.status, head.headers.get('upload-offset')]).toEqual([200, String(offset)])
    expect((await tus.patch(url, offset, bytes.subarray(offset))).status).toBe(204)
    const [recording] = (await jsonOf(await server.api('GET', lead.recordings))).recordings as { sha256: string }[]
    expect(recording?.sha256).toBe(sha256(bytes))
  })
})

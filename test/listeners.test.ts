/** Listeners as they are: they leave in the middle, stop reading, come back, and keep their connections. */
import { once } from 'node:events'
import { readdir, readlink, rm, truncate } from 'node:fs/promises'
import http from 'node:http'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { ask } from './support/http.ts'
import { type ServerProcess, startProcess } from './support/process.ts'
import { offsets, record } from './support/recordings.ts'
import { startService } from './support/service.ts'

const BYTES = offsets(8 * 1024 * 1024)

/** Waits until `reached` says so. */
async function until(reached: () => Promise<boolean> | boolean, what: string, seconds = 10): Promise<void> {
  for (const end = Date.now() + seconds * 1000; !(await reached()); ) {
    if (Date.now() > end) throw new Error(`not within ${seconds} s: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 25))
  }
}

/** Starts to listen on a connection of its own; resolves with the first bytes. */
async function listen(url: string, token: string, headers: Record<string, string> = {}) {
  const request = http.get(url, { agent: false, headers: { authorization: `Bearer ${token}`, ...headers } })
  request.on('error', () => {})
  const [response] = (await once(request, 'response')) as [http.IncomingMessage]
  response.on('error', () => {})
  return { request, response }
}

const closed = (response: http.IncomingMessage) => new Promise<void>((resolve) => response.once('close', resolve))

/** How many of the server's open files are recordings. */
async function openRecordings({ pid, dir }: ServerProcess): Promise<number> {
  const links = (await readdir(`/proc/${pid}/fd`)).map((fd) => readlink(`/proc/${pid}/fd/${fd}`).catch(() => ''))
  return (await Promise.all(links)).filter((file) => file.startsWith(path.join(dir, 'recordings/'))).length
}

test('two hundred that leave at random moments leave no file open and no error behind', {
  timeout: 40_000,
}, async () => {
  const server = await startProcess({ env: { LOG_LEVEL: 'info' } })
  const recordings = await Promise.all([0, 1, 2, 3].map(() => record(server, BYTES)))
  const before = await server.openFiles()

  const leave = async (i: number) => {
    const { url } = recordings[i % recordings.length] ?? { url: '' }
    const headers: Record<string, string> =
      [{}, { range: 'bytes=100-' }, { range: 'bytes=0-999,5000000-' }][i % 3] ?? {}
    if (i % 5 === 0) {
      // Before the answer begins.
      const request = http.get(url, { agent: false, headers: { authorization: `Bearer ${server.tokens.telecaller}` } })
      request.on('error', () => {})
      await once(request, 'socket')
      setTimeout(() => request.destroy(), i % 7)
      return
    }
    const { request, response } = await listen(url, server.tokens.telecaller, headers)
    let left = (i * 40_503) % BYTES.length
    response.on('data', (chunk) => {
      left -= chunk.length
      if (left <= 0) request.destroy()
    })
    await closed(response)
  }
  await Promise.all(Array.from({ length: 200 }, (_, i) => leave(i)))

  await until(async () => (await openRecordings(server)) === 0, 'no recording is open any more')
  await until(async () => (await server.openFiles()) <= before, `open files return to ${before}`)
  const bad = server.lines.filter(({ level }) => level !== 'info' && level !== 'debug')
  expect(bad).toEqual([])
  // And it still plays.
  const res = await ask(recordings[0]?.url ?? '', 'GET', { authorization: `Bearer ${server.tokens.telecaller}` })
  expect(res.body.equals(BYTES)).toBe(true)
})

test('fifty that stop reading hold little memory', { timeout: 40_000 }, async () => {
  const server = await startProcess()
  const { url } = await record(server, BYTES)
  const { rssBytes: before } = await server.memory()
  const stalled = await Promise.all(
    Array.from({ length: 50 }, async () => {
      const listener = await listen(url, server.tokens.telecaller)
      listener.response.pause()
      return listener
    }),
  )
  const res = await ask(url, 'GET', { authorization: `Bearer ${server.tokens.telecaller}` })
  expect(res.body.equals(BYTES)).toBe(true)
  expect((await server.memory()).peakBytes - before).toBeLessThan(60 * 1024 * 1024)
  for (const { request } of stalled) request.destroy()
})

describe('a file that is not what its row says', async () => {
  const service = await startService()
  const authorization = `Bearer ${service.tokens.telecaller}`
  const { counters } = service.service.events
  const alarms = () => ({ gone: counters.recordingFileMissing, damaged: counters.recordingFileDamaged })
  const fileOf = async (leadId: string) => {
    const file = (await service.files('recordings')).find((name) => name.startsWith(`${leadId}/`))
    return path.join(service.dir, 'recordings', file ?? '')
  }

  test.for(['GET', 'HEAD'])('gone: %s is 404, and an alarm', async (method) => {
    const { url, leadId } = await record(service, BYTES)
    await rm(await fileOf(leadId))
    const before = alarms()
    const res = await ask(url, method, { authorization, range: 'bytes=0-9' })
    expect(res.status).toBe(404)
    if (method === 'GET') expect(JSON.parse(res.text)).toMatchObject({ code: 'recording_file_missing' })
    expect(res.text).not.toContain(service.dir)
    expect(alarms()).toEqual({ ...before, gone: before.gone + 1 })
  })

  test('cut short: 404 and an alarm, not fewer bytes than were promised', async () => {
    const { url, leadId } = await record(service, BYTES)
    await truncate(await fileOf(leadId), 1000)
    const before = alarms()
    expect((await ask(url, 'GET', { authorization, range: 'bytes=0-9' })).status).toBe(404)
    expect(alarms()).toEqual({ ...before, damaged: before.damaged + 1 })
  })

  test('cut short while it plays: the connection breaks, and an alarm', async () => {
    const { url, leadId } = await record(service, BYTES)
    const before = alarms()
    const { response } = await listen(url, service.tokens.telecaller)
    await once(response, 'readable')
    await truncate(await fileOf(leadId), 1000)
    let got = 0
    response.on('data', (chunk) => {
      got += chunk.length
    })
    await closed(response)
    expect(response.complete).toBe(false)
    expect(got).toBeLessThan(BYTES.length)
    expect(alarms()).toEqual({ ...before, damaged: before.damaged + 1 })
  })

  test('deleted while it plays: who listens hears it to the end, and nobody hears it again', async () => {
    const { url } = await record(service, BYTES)
    const { response } = await listen(url, service.tokens.telecaller)
    await once(response, 'readable')
    expect((await service.api('DELETE', url)).status).toBe(204)
    const chunks: Buffer[] = []
    response.on('data', (chunk) => chunks.push(chunk))
    await once(response, 'end')
    expect(Buffer.concat(chunks).equals(BYTES)).toBe(true)
    expect((await ask(url, 'GET', { authorization })).status).toBe(404)
  })
})

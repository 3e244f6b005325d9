import { truncate } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { mayMount, mountTmpfs, resizeTmpfs } from '../support/mounts.ts'
import { record } from '../support/recordings.ts'
import { type Started, startBy } from '../support/starts.ts'

const MiB = 2 ** 20

async function ask(server: Started, count: number): Promise<void> {
  const url = `${server.url}/${'x'.repeat(8_000)}`
  for (let i = 0; i < count; i += 20) {
    const answers = await Promise.all(Array.from({ length: 20 }, () => fetch(url)))
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([404]))
    await Promise.all(answers.map((answer) => answer.arrayBuffer()))
  }
}

describe.skipIf(!mayMount())('a log on a disk that is full', () => {
  async function start() {
    const dir = path.join(tmpdir(), `full-log-${process.pid}-${Math.random().toString(36).slice(2)}`)
    await mountTmpfs(dir, MiB)
    const server = await startBy('the command', 'file', { logFile: path.join(dir, 'server.log') })
    await ask(server, 600) // 4.8 MB
    return { dir, server }
  }

  test('stops nobody; with room again every line is whole, and how many were dropped is told', async () => {
    const { dir, server } = await start()
    const { url } = await record(server, '0123456789')
    expect((await server.api('GET', url)).status).toBe(200)
    resizeTmpfs(dir, 40 * MiB)
    await expect
      .poll(server.log, { timeout: 10_000 })
      .toContainEqual(expect.objectContaining({ event: 'logLinesDropped' }))
    const log = await server.log() // each is parsed
    const dropped = log.find((line) => line.event === 'logLinesDropped')?.lines as number
    const written = log.filter((line) => line.code === 'route_not_found').length
    expect(written + dropped).toBeGreaterThanOrEqual(600)
    expect(written + dropped).toBeLessThan(620)
    server.signal('SIGTERM')
    expect(await server.exited).toEqual({ code: 0, signal: null })
    expect((await server.log()).at(-1)).toMatchObject({ msg: 'stopped' })
  })

  test('does not keep the server from hearing SIGTERM', async () => {
    const { dir, server } = await start()
    server.signal('SIGTERM')
    expect(await server.exited).toEqual({ code: 0, signal: null })
    await truncate(path.join(dir, 'server.log'))
  })
})

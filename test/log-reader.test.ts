import { expect, test } from 'vitest'
import { type LogLine, type ServerProcess, startProcess } from './support/process.ts'
import { record } from './support/recordings.ts'

const isDropped = (line: LogLine) => line.event === 'logLinesDropped'

/** Requests whose lines are 8 KB each, more than wait for a reader. @returns how many */
async function fill(server: ServerProcess): Promise<number> {
  const count = 400
  const url = `${server.url}/${'x'.repeat(8_000)}`
  for (let i = 0; i < count; i += 20) {
    const answers = await Promise.all(Array.from({ length: 20 }, () => fetch(url)))
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([404]))
    await Promise.all(answers.map((answer) => answer.arrayBuffer()))
  }
  return count
}

test('a log whose reader hangs stops nobody: lines are dropped, and their number is told when it reads again', async () => {
  const server = await startProcess()
  // What measures requests is loaded once there have been some.
  await fetch(`${server.url}/metrics`)
  server.pauseLog()
  const { rssBytes: before } = await server.memory()
  let sent = await fill(server)
  for (let i = 0; i < 3; i++) sent += await fill(server)
  expect((await server.memory()).rssBytes - before).toBeLessThan(60e6)
  const { url } = await record(server, '0123456789')
  expect((await server.api('GET', url)).status).toBe(200)

  server.resumeLog()
  const { lines: dropped } = (await server.line(isDropped)) as unknown as { lines: number }
  const written = server.lines.filter((line) => line.code === 'route_not_found').length
  expect(dropped).toBeGreaterThan(sent / 2)
  // The lines about the recording were dropped too.
  expect(written + dropped).toBeGreaterThanOrEqual(sent)
  expect(written + dropped).toBeLessThan(sent + 20)
  expect(await server.kill('SIGTERM')).toEqual({ code: 0, signal: null })
  expect(server.lines.at(-1)).toMatchObject({ msg: 'stopped' })
})

test('SIGTERM is heard by a server whose log nobody reads', async () => {
  const server = await startProcess()
  server.pauseLog()
  await fill(server)
  const ended = server.kill('SIGTERM')
  // Its end is known when its pipes are closed, which they are when they have been read.
  try {
    await expect.poll(() => isGone(server.pid), { timeout: 20_000 }).toBe(true)
  } finally {
    server.resumeLog()
  }
  expect(await ended).toEqual({ code: 0, signal: null })
})

const isGone = (pid: number) => {
  try {
    process.kill(pid, 0)
    return false
  } catch {
    return true
  }
}

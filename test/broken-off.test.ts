/** Commands that are ended on their way: a sentence, exit code 1, and nothing half made. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { leadCopied } from '../src/db/copying.ts'
import { childEnvironment, NODE } from './support/process.ts'
import { afterwards, startService } from './support/service.ts'

const server = await startService()
const folder = await mkdtemp(path.join(tmpdir(), 'broken-off-'))
afterwards(() => rm(folder, { recursive: true, force: true }))

function started(words: string[]) {
  const child = spawn(NODE, ['bin/call-recordings.js', ...words], {
    env: childEnvironment(server.dir),
  })
  const said = { stdout: '', stderr: '' }
  child.stdout.on('data', (data) => {
    said.stdout += data
  })
  child.stderr.on('data', (data) => {
    said.stderr += data
  })
  return { child, said, closed: once(child, 'close') }
}

test.for(['SIGINT', 'SIGTERM'] as const)('an export into a file leaves none of it behind: %s', async (signal) => {
  const nowMs = Date.now()
  const rows = Array.from({ length: 4_000 }, (_, i) => ({
    id: `out-${i}`,
    telecallerId: 't',
    name: 'n'.repeat(1_000),
    createdAtMs: nowMs,
    updatedAtMs: nowMs,
  }))
  await server.service.db.write(...rows.map(leadCopied))
  const dir = await mkdtemp(path.join(folder, 'export-'))
  const { child, said, closed } = started(['export', '--output', path.join(dir, 'all.csv'), '--json'])
  await expect.poll(() => readdir(dir), { timeout: 30_000, interval: 2 }).toEqual(['all.csv.partial'])
  child.kill(signal)
  expect(await closed).toEqual([1, null])
  expect(await readdir(dir)).toEqual([])
  expect(said).toEqual({
    stderr: `broken off by ${signal}\n`,
    stdout: `{"type":"result","ok":false,"exit_code":1,"error":"broken off by ${signal}"}\n`,
  })
})

test('the first Ctrl-C in a terminal ends an upload, and its bars with it', async () => {
  let asked = () => {}
  const isAsked = new Promise<void>((resolve) => {
    asked = resolve
  })
  // It takes the question, and never answers.
  const silent = createServer(() => asked())
  silent.listen(0, '127.0.0.1')
  await once(silent, 'listening')
  onTestFinished(() => {
    silent.closeAllConnections()
    silent.close()
  })
  const file = path.join(folder, 'call.wav')
  await writeFile(file, 'x'.repeat(1_000))
  const address = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`
  const words = ['upload', file, '--lead', 'l', '--call-log', 'c', '--server', address]
  const line = [NODE, 'bin/call-recordings.js', ...words].join(' ')
  const child = spawn('script', ['-qec', line, '/dev/null'], {
    env: { ...childEnvironment(server.dir), RECORDINGS_TOKEN: 'x' },
  })
  let shown = ''
  child.stdout.on('data', (data) => {
    shown += data
  })
  await isAsked
  child.stdin.write('\x03')
  await once(child, 'close')
  expect(shown).toContain('broken off by SIGINT')
  // The cursor is shown again.
  expect(shown.lastIndexOf('\x1b[?25h')).toBeGreaterThan(shown.lastIndexOf('\x1b[?25l'))
})

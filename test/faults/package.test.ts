/** What `npm pack` makes, unpacked where nothing is but the one package with machine code. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { globSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface, type Interface } from 'node:readline'
import BetterSqlite3 from 'better-sqlite3'
import { afterAll, beforeAll, expect, test } from 'vitest'
import manifest from '../../package.json' with { type: 'json' }
import { fixtureBytes } from '../support/fixtures.ts'
import { childEnvironment, type LogLine, NODE } from '../support/process.ts'
import { record } from '../support/recordings.ts'
import { clientOf, jsonOf, type TestClient } from '../support/service.ts'

const folder = mkdtempSync(path.join(tmpdir(), 'packed-'))
const home = path.join(folder, 'node_modules/call-recordings')
const dir = path.join(folder, 'data')
const COMMAND = path.join(home, 'bin/call-recordings.js')
const lines: LogLine[] = []
let server: ChildProcess
let output: Interface
let client: TestClient
let url: string

const run = (...words: string[]) =>
  spawnSync(NODE, [COMMAND, ...words], { cwd: folder, env: childEnvironment(dir), encoding: 'utf8' })

beforeAll(async () => {
  mkdirSync(home, { recursive: true })
  execFileSync('npm', ['pack', '--silent', '--pack-destination', folder])
  const [packed = ''] = globSync('*.tgz', { cwd: folder })
  execFileSync('tar', ['-xzf', path.join(folder, packed), '--strip-components=1', '-C', home])
  symlinkSync(path.resolve('node_modules/better-sqlite3'), path.join(folder, 'node_modules/better-sqlite3'))
  server = spawn(NODE, [COMMAND, 'start'], { cwd: folder, env: childEnvironment(dir), stdio: ['ignore', 'pipe', 2] })
  const listening = new Promise<string>((resolve) => {
    output = createInterface(server.stdout as NodeJS.ReadableStream).on('line', (text) => {
      const line = JSON.parse(text) as LogLine
      lines.push(line)
      if (line.msg === 'listening') resolve(line.url as string)
    })
  })
  url = await listening
  client = await clientOf(() => url)
})

afterAll(async () => {
  const closed = once(server, 'close')
  server.kill('SIGKILL')
  await closed
  rmSync(folder, { recursive: true })
})

test('the package holds its bundle and no source, tests or packages', () => {
  const tops = new Set(globSync('*', { cwd: home }))
  expect(tops).toEqual(
    new Set(['CHANGELOG.md', 'README.md', 'bin', 'deploy', 'dist', 'docs', 'drizzle', 'package.json']),
  )
})

test('an upload to what was packed is looked into in a thread, and played back', async () => {
  const sound = fixtureBytes('tone.mp3')
  const recording = await record(client, sound, { filename: 'call.mp3' })
  const headers = { authorization: `Bearer ${client.tokens.telecaller}` }
  const played = await fetch(recording.url, { headers: { ...headers, range: 'bytes=10-' } })
  expect(played.status).toBe(206)
  expect(Buffer.from(await played.arrayBuffer())).toEqual(Buffer.from(sound.subarray(10)))
  const details = await jsonOf(await fetch(`${recording.url}/details`, { headers }))
  expect(details.duration_seconds).toBeGreaterThan(0)
  expect(lines.filter(({ level }) => level === 'error' || level === 'warn')).toEqual([])
})

test('its commands run', () => {
  expect(run('--help')).toMatchObject({ status: 0, stderr: '' })
  expect(run('--version').stdout).toMatch(/^\d+\.\d+\.\d+\n$/)
  expect(run('complete', 'bash')).toMatchObject({
    status: 0,
    stdout: expect.stringContaining('complete -F'),
    stderr: '',
  })
  expect(run('token', '--sub', 'asha').stdout).toMatch(/^eyJ/)
  expect(run('config', 'check')).toMatchObject({ status: 0, stdout: expect.stringContaining('RECORDINGS_DATA_DIR') })
  expect(run('doctor').stdout).toMatch(/^ok +database .* answers/m)
  expect(run('verify')).toMatchObject({ status: 0 })
  expect(run('backup', path.join(folder, 'copy'))).toMatchObject({ status: 0 })
  expect(run('sweep', '--dry-run')).toMatchObject({ status: 0 })
  expect(run('migrate', '--to', path.join(folder, 'none')).stderr).toMatch(/none/)
  expect(run('check-store').stderr).toMatch(/RECORDINGS_STORE/)
  const file = path.join(folder, 'crm.csv')
  writeFileSync(file, 'lead_id,telecaller_id,call_log_id\npacked,asha,packed-call\n')
  expect(run('import', file)).toMatchObject({ status: 0, stderr: '' })
  expect(run('export').stdout).toMatch(/^packed,asha,/m)
  const sound = path.resolve('test/fixtures/tone.mp3')
  const of = ['--lead', 'packed', '--call-log', 'packed-call', '--server', url]
  expect(run('upload', sound, ...of)).toMatchObject({
    status: 0,
    stderr: '',
    stdout: expect.stringMatching(/^uploaded: /),
  })
  expect(run('list', 'recordings', '--lead', 'packed').stdout).toMatch(/tone\.mp3/)
})

test('asked for traces, whose packages are not installed, it says how they are', () => {
  const env = { ...childEnvironment(path.join(folder, 'none')), OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:9' }
  const { status, stderr } = spawnSync(NODE, [COMMAND, 'start'], { cwd: folder, env, encoding: 'utf8' })
  expect(status).toBe(1)
  expect(stderr).toMatch(/OTEL_EXPORTER_OTLP_ENDPOINT is given: .* npm install --no-save @opentelemetry\/api@\d/)
  expect(stderr).not.toMatch(/^ +at /m)
})

test('it tells its contract and its metrics, and has what its page loads', async () => {
  const contract = await jsonOf(await fetch(`${url}/openapi.json`))
  expect(contract).toMatchObject({ openapi: '3.1.1', info: { version: manifest.version } })
  for (const file of ['docs', 'docs/swagger-ui-bundle.js', 'docs/swagger-ui.css', 'docs/open.js']) {
    expect([file, (await fetch(`${url}/${file}`)).status]).toEqual([file, 200])
  }
  expect((await fetch(`${url}/docs/cli.js`)).status).toBe(404)
  const metrics = await (await fetch(`${url}/metrics`)).text()
  expect(metrics).toContain(`call_recordings_build_info{version="${manifest.version}"`)
})

test('the stack of a fault names the source', async () => {
  const { leadId } = await client.lead()
  const database = new BetterSqlite3(path.join(dir, 'recordings.db'))
  database.pragma('foreign_keys = off')
  database.exec('DROP TABLE call_logs')
  database.close()
  const res = await fetch(`${url}/api/leads/${leadId}/call-logs/another`, {
    method: 'PUT',
    headers: { authorization: `Bearer ${client.tokens.crm}`, 'content-type': 'application/json' },
    body: '{}',
  })
  expect(res.status).toBeGreaterThanOrEqual(500)
  const isOfFault = (line: LogLine) => /at \S.*\(src\/db\/[\w-]+\.ts:\d+:\d+\)/.test(JSON.stringify(line))
  while (!lines.some(isOfFault)) await once(output, 'line')
})

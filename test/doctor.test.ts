/** `call-recordings doctor`: a line for each thing that a server needs, with what to do. */
import { once } from 'node:events'
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { nginx } from '../src/commands/doctor-nginx.ts'
import { readConfig } from '../src/config/config.ts'
import { freePort } from './support/ports.ts'
import { runCommand, startProcess } from './support/process.ts'
import { afterwards } from './support/service.ts'

async function temporary(): Promise<string> {
  const dir = await mkdtemp(path.join(tmpdir(), 'doctor-'))
  afterwards(() => rm(dir, { recursive: true, force: true }))
  return dir
}

interface Line {
  type: string
  about: string
  says: string
  todo?: string
}

async function examined(dir: string, env: Record<string, string> = {}) {
  const { code, stdout, stderr } = await runCommand(['doctor', '--json'], { dir, env })
  const lines = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Line)
  const of = (about: string) => lines.find((line) => line.about === about)
  return { code, stderr, lines, of, bad: lines.filter(({ type }) => type === 'bad').map(({ about }) => about) }
}

test('before the first start finds what will be made, makes none of it, and says so in a line each', async () => {
  const dir = path.join(await temporary(), 'data')
  const { code, stderr, of, lines } = await examined(dir, { RECORDINGS_JWT_SECRET: '' })
  expect([code, stderr]).toEqual([0, ''])
  expect(of('node')?.says).toContain(process.version.split('.')[0])
  expect(of('data')?.says).toMatch(new RegExp(`^${dir} is made at the start, on `))
  expect(of('space')?.says).toMatch(/ free under /)
  expect(of('keys')?.says).toBe('a secret is made at the start')
  expect(of('database')?.says).toMatch(/recordings\.db is made at the start$/)
  expect(of('clock')?.says).toMatch(/there is no other/)
  expect(of('port')?.says).toMatch(/^any that is free/)
  expect(lines.at(-1)).toMatchObject({ type: 'result', ok: true, checks: { bad: 0 } })
  await expect(rm(dir)).rejects.toThrow('ENOENT')
})

test('beside its running server knows it by its port, and reads its database', async () => {
  const server = await startProcess()
  const { port: PORT } = new URL(server.url)
  const { code, of } = await examined(server.dir, { PORT })
  expect(of('port')?.says).toBe(`127.0.0.1:${PORT} is a call-recordings server's, which runs`)
  expect(of('database')?.says).toMatch(/answers; it knows no recording yet$/)
  expect(code).toBe(0)
  const other = await examined(await temporary(), { PORT })
  expect(other.of('port')).toMatchObject({ type: 'bad', says: expect.stringMatching(/on another data directory$/) })
  expect(other.code).toBe(1)
})

test('says of what is bad what to do, all of it at once, and exits with 1', async () => {
  const dir = await temporary()
  await mkdir(path.join(dir, 'recordings'), { mode: 0o755 })
  await chmod(path.join(dir, 'recordings'), 0o755)
  await writeFile(path.join(dir, 'recordings.db'), 'no database', { mode: 0o644 })
  const taken = createServer().listen(0, '127.0.0.1')
  await once(taken, 'listening')
  afterwards(async () => void taken.close())
  const { port } = taken.address() as { port: number }
  const env = {
    PORT: String(port),
    RECORDINGS_JWT_SECRET: '',
    RECORDINGS_JWKS_URL: `http://127.0.0.1:${await freePort()}/keys`,
    RECORDINGS_MIN_FREE_SPACE: '900TiB',
  }
  const { code, of, bad } = await examined(dir, env)
  expect(code).toBe(1)
  expect(bad.sort()).toEqual(['database', 'keys', 'port', 'space'])
  expect(of('port')).toMatchObject({
    says: expect.stringMatching(new RegExp(`port ${port} of 127\\.0\\.0\\.1 is taken.*: process ${process.pid} \\(`)),
    todo: expect.stringMatching(/set PORT/),
  })
  expect(of('keys')?.says).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/keys is out of reach .*ECONNREFUSED/)
  expect(of('database')?.says).toMatch(/recordings\.db/)
  expect(of('space')?.todo).toMatch(/make room/)
  expect(of('permissions')?.todo).toBe(`chmod 600 ${dir}/recordings.db`)
  expect(of('recordings')).toMatchObject({ type: 'advice', todo: expect.stringMatching(/^chmod o-rwx/) })
  const { stdout } = await runCommand(['doctor'], { dir, env: { ...env, LOG_LEVEL: 'loud' } })
  expect(stdout).toMatch(/^BAD {5}settings {5}LOG_LEVEL is `loud`: expected one of/m)
})

describe('nginx that is to send the recordings', async () => {
  const folder = await temporary()
  const recordings = path.join(folder, 'recordings')
  await mkdir(recordings, { mode: 0o700 })
  const config = readConfig({
    RECORDINGS_DATA_DIR: path.join(folder, 'data'),
    RECORDINGS_DIR: recordings,
    RECORDINGS_ACCEL_REDIRECT: '/protected-recordings/',
  })
  const configured = async (user: string, alias: string) => {
    await mkdir(path.join(folder, 'sites-enabled'), { recursive: true })
    await writeFile(path.join(folder, 'nginx.conf'), `user ${user};\nhttp { include sites-enabled/*; }\n`)
    const site = `# alias /none/;\nlocation /protected-recordings/ {\n  internal;\n  alias ${alias};\n}\n`
    await writeFile(path.join(folder, 'sites-enabled/calls'), site)
    return nginx(config, folder)
  }

  test('and may read them is well', async () => {
    expect(await configured('root', `${recordings}/`)).toMatchObject([{ state: 'ok' }])
  })

  test('and runs as a user who can not pass their directory is told, with that directory', async () => {
    const [finding] = await configured('nobody', `${recordings}/`)
    expect(finding).toMatchObject({
      state: 'bad',
      says: `its user nobody can't pass ${folder}`,
      todo: expect.stringMatching(/user …;/),
    })
  })

  test('and names another directory, or none, is told', async () => {
    expect(await configured('root', '/srv/other/')).toMatchObject([{ state: 'bad', todo: `set alias ${recordings}/;` }])
    await writeFile(path.join(folder, 'sites-enabled/calls'), 'location / { proxy_pass http://calls; }')
    expect(await nginx(config, folder)).toMatchObject([
      { state: 'bad', says: 'has no location /protected-recordings/ with an alias' },
    ])
  })

  test('and has its configuration elsewhere is left to a person; where none sends, none is looked at', async () => {
    expect(await nginx(config, path.join(folder, 'none'))).toMatchObject([{ state: 'advice' }])
    expect(await nginx(readConfig({}), folder)).toEqual([])
  })
})

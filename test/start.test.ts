import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { childEnvironment, NODE, runCommand } from './support/process.ts'
import { afterwards } from './support/service.ts'

const dir = await mkdtemp(path.join(tmpdir(), 'start-'))
afterwards(() => rm(dir, { recursive: true }))
await writeFile(path.join(dir, 'file'), '')

const start = (dataDir: string, env: Record<string, string> = {}) => runCommand(['start'], { dir: dataDir, env })

async function takenPort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  afterwards(async () => void server.close())
  return (server.address() as { port: number }).port
}

describe('a start that cannot be', () => {
  test('since directories cannot be made or used tells each in one message, with what to do', async () => {
    const { code, stdout, stderr } = await start('/proc/nope', {
      RECORDINGS_DIR: path.join(dir, 'file'),
      RECORDINGS_UPLOADS_DIR: '/proc/nope/uploads',
    })
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    const [first, ...faults] = stderr.trim().split('\n')
    expect(first).toBe('The settings have 2 faults:')
    expect(faults[0]).toMatch(
      /^ {2}RECORDINGS_DATA_DIR is `\/proc\/nope`: it cannot be made \(ENOENT\): expected a directory/,
    )
    expect(faults[1]).toMatch(
      /^ {2}RECORDINGS_DIR is `.*\/file`: that, or a part of its path, is no directory \(ENOTDIR\)/,
    )
    for (const fault of faults) expect(fault).toMatch(/make it and give it to that user, or name another place$/)
  })

  test('since a setting is wrong tells of directories and the file of keys too, and makes none', async () => {
    const missing = path.join(dir, 'missing')
    const { code, stderr } = await start(missing, {
      PORT: 'x',
      RECORDINGS_DIR: path.join(dir, 'file'),
      RECORDINGS_JWT_SECRET: '',
      RECORDINGS_JWKS_FILE: path.join(dir, 'file'),
    })
    expect(code).toBe(1)
    expect(stderr.trim().split('\n')).toEqual([
      'The settings have 3 faults:',
      expect.stringMatching(/^ {2}PORT is `x`: expected/),
      expect.stringMatching(/^ {2}RECORDINGS_DIR is `.*`: /),
      expect.stringMatching(/^ {2}RECORDINGS_JWKS_FILE is `.*`: it is empty/),
    ])
    expect(await readdir(dir)).toEqual(['file'])
  })

  test.for([
    [
      'PORT',
      async (): Promise<string> => String(await takenPort()),
      /^the service could not start: port \d+ of 127\.0\.0\.1 is taken .* set PORT/,
    ],
    [
      'HOST',
      async (): Promise<string> => '192.0.2.1',
      /^the service could not start: 192\.0\.2\.1 is no address of this machine: set HOST/,
    ],
  ] as const)('since %s is not to be had says what to do, in one line', async ([name, value, said]) => {
    const { code, stdout } = await start(path.join(dir, name), { [name]: await value() })
    expect(code).toBe(1)
    const lines = stdout.trim().split('\n')
    expect(lines).toHaveLength(1)
    const line = JSON.parse(lines[0] as string) as { level: string; msg: string }
    expect(line).toMatchObject({ level: 'fatal', msg: expect.stringMatching(said) })
    expect(line).not.toHaveProperty('err')
  })

  test.for(['recordings.db', 'server.lock', 'jwt-secret', 'playback-links-secret'])(
    'since %s is a directory says so in one sentence, and what to do',
    async (name) => {
      const dataDir = path.join(dir, `with ${name}`)
      await mkdir(path.join(dataDir, name), { recursive: true })
      const { code, stdout, stderr } = await start(dataDir, { RECORDINGS_JWT_SECRET: '' })
      expect(code).toBe(1)
      expect(stdout + stderr).toMatch(
        new RegExp(`${name}.* can't be used \\((EISDIR|SQLITE_CANTOPEN)\\): expected a file`),
      )
      expect(stdout + stderr).not.toContain('    at ')
      expect(stdout + stderr).not.toContain('"stack"')
    },
  )

  test('for a word that it does not know is told with what there is', async () => {
    const { code, stderr } = await runCommand(['start', '--with-parents'], { dir })
    expect(code).toBe(2)
    expect(stderr).toMatch(/unknown option '--with-parents'\n\(Did you mean --with-parent\?\)/)
  })
})

test('the demonstration on a port that is taken says what to do', async () => {
  const demo = spawn(NODE, ['demo/demo.ts', '--once'], { env: { ...process.env, PORT: String(await takenPort()) } })
  let said = ''
  demo.stdout.on('data', (data) => {
    said += data
  })
  expect(await once(demo, 'exit')).toEqual([1, null])
  expect(said).toMatch(
    /The demonstration failed: .*port \d+ of 127\.0\.0\.1 is taken .* set PORT \(0 takes any free port\)/,
  )
})

test('in a terminal a start outside production says where to look and how to get a token; elsewhere it writes its log alone', async () => {
  const command = `${NODE} bin/call-recordings.js start`
  const inTerminal = async (env: Record<string, string>) => {
    const settings = childEnvironment(path.join(dir, 'terminal'), env)
    const child = spawn('script', ['-qec', command, '/dev/null'], { env: settings, stdio: ['pipe', 'pipe', 'inherit'] })
    let said = ''
    let isEnding = false
    for await (const piece of child.stdout) {
      said += piece
      if (isEnding || !/listening/.test(said) || !/a token|"url"/.test(said)) continue
      isEnding = true
      child.stdin.write('\x03')
    }
    return said
  }
  const said = await inTerminal({})
  expect(said).toMatch(/http:\/\/127\.0\.0\.1:\d+\/docs/)
  expect(said).toMatch(/npx call-recordings token --sub/)
  expect(await inTerminal({ NODE_ENV: 'production' })).not.toContain('token')
})

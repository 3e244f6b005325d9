/** What deploy/Dockerfile's image holds, put together without Docker and run as it would be, with nothing to write but the volume. */
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmod, cp, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { expect, test } from 'vitest'
import { imageOf } from '../support/image.ts'
import { mayMount } from '../support/mounts.ts'
import { freePort } from '../support/ports.ts'
import { afterwards, SECRET } from '../support/service.ts'

const NODE = path.resolve('node_modules/node/bin/node')

test.skipIf(!mayMount())(
  'what the image holds runs on a root that is read-only, as a user without rights; it is healthy, and ends with SIGTERM',
  { timeout: 120_000 },
  async () => {
    const image = imageOf(await readFile('deploy/Dockerfile', 'utf8'))
    const dir = await mkdtemp(path.join(tmpdir(), 'image-'))
    afterwards(() => rm(dir, { recursive: true }))
    const app = path.join(dir, 'app')
    const built = path.join(dir, 'dist')
    execFileSync('npx', ['rolldown', '-c', 'rolldown.config.ts', '--dir', built], { stdio: 'ignore' })
    for (const { words } of image.copies) {
      const sources = words.replace(/^--from=\S+ /, '').split(' ')
      const target = sources.pop() as string
      for (const source of sources) {
        // The stage has the project in its working directory.
        const from = source.replace(`${image.workdir}/`, '')
        const to = path.join(app, /\/$/.test(target) ? path.join(target, path.basename(source)) : target)
        await mkdir(path.dirname(to), { recursive: true })
        await cp(from === 'dist' ? built : from, to, { recursive: true })
      }
    }
    const data = path.join(dir, 'data')
    await mkdir(data)
    await chmod(dir, 0o755)
    const port = await freePort()
    const inside = [
      `mkdir -p ${dir}/bin && ln -s ${NODE} ${dir}/bin/node`,
      `chown 65534:65534 ${data}`,
      // The image's folders, and a root that takes no write: `docker run --read-only --tmpfs /tmp`.
      `mount -t tmpfs none /srv && mkdir /srv/app /srv/data /srv/bin && mount --bind ${app} /srv/app && mount --bind ${data} /srv/data`,
      `cp -a ${dir}/bin/node /srv/bin/ && mount -o remount,ro,bind /srv/app && mount -o remount,ro /srv`,
      'mount -o remount,ro,bind / 2>/dev/null || true',
      'cd /srv/app && ! touch /srv/app/x 2>/dev/null',
      'exec setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs --bounding-set=-all "$@"',
    ]
    const env = {
      ...image.env,
      PATH: `${dir}/bin:/usr/bin:/bin`,
      PORT: String(port),
      RECORDINGS_DATA_DIR: '/srv/data',
      RECORDINGS_JWT_SECRET: SECRET,
    }
    const words = ['--mount', 'sh', '-ec', inside.join('\n'), 'sh', ...image.command]
    const child = spawn('unshare', words, { env, stdio: ['ignore', 'pipe', 'inherit'] })
    afterwards(async () => void child.kill('SIGKILL'))
    const said: { msg: string; url?: string }[] = []
    for await (const line of createInterface({ input: child.stdout })) {
      said.push(JSON.parse(line))
      if (said.at(-1)?.msg !== 'listening') continue
      expect((await fetch(`http://127.0.0.1:${port}/readyz`)).status).toBe(200)
      const [node = '', ...rest] = image.healthcheck.command
      const words = rest.map((word) => word.replace(`127.0.0.1:${image.env.PORT}`, `127.0.0.1:${port}`))
      expect(spawnSync(node, words, { env: { PATH: `${path.dirname(NODE)}:/usr/bin` } }).status).toBe(0)
      child.kill('SIGTERM')
    }
    if (child.exitCode === null) await once(child, 'exit')
    expect(child.exitCode).toBe(0)
    expect(said.map(({ msg }) => msg)).toEqual(['listening', 'stopping', 'stopped'])
  },
)

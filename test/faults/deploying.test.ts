/** docs/deploying.md, "In ten minutes" and "Upgrading": the commands as they stand, on a machine that is this one with other folders. */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { expect, test } from 'vitest'
import { mayMount } from '../support/mounts.ts'
import { freshEnvironment } from '../support/npm.ts'
import { freePort } from '../support/ports.ts'
import { afterwards } from '../support/service.ts'
import { shellOf } from '../support/snippets.ts'

/** Does what systemd does with the unit, as far as the commands rely on it. */
const SYSTEMCTL = `#!/bin/bash
set -e
case "$1" in enable | start | restart | stop) ;; *) exit 0 ;; esac
if [ "$1" != enable ] && [ "$1" != start ]; then
  kill "$(cat "$SERVER_LOG.pid")"
  tail --pid="$(cat "$SERVER_LOG.pid")" -f /dev/null
fi
[ "$1" != stop ] || exit 0
unit=/etc/systemd/system/call-recordings.service
of() { sed -n "s/^$1=//p" $unit; }
id=$(id -u $(of User)) state=/var/lib/$(of StateDirectory)
mkdir -p -m $(of StateDirectoryMode) $state && chown $id $state
set -a
for pair in $(of Environment); do declare -x "$pair"; done
. $(of EnvironmentFile)
cd $(of WorkingDirectory) && umask $(of UMask)
setpriv --reuid $id --regid $(id -g $(of User)) --clear-groups --no-new-privs --bounding-set=-all $(of ExecStart) >>"$SERVER_LOG" 2>&1 &
echo $! >"$SERVER_LOG.pid"
`
test.skipIf(!mayMount())(
  'a new operator has a service that is ready, takes a lead from the CRM, is backed up, upgraded and taken back to what it was',
  { timeout: 300_000 },
  async () => {
    const dir = await mkdtemp(path.join(tmpdir(), 'operator-'))
    afterwards(() => rm(dir, { recursive: true, force: true }))
    await chmod(dir, 0o755)
    execFileSync('npm', ['pack', '--silent', '--pack-destination', dir], { stdio: 'ignore' })
    const stubs = path.join(dir, 'bin')
    await mkdir(stubs)
    await writeFile(path.join(stubs, 'systemctl'), SYSTEMCTL, { mode: 0o755 })

    const { privateKey, publicKey } = await generateKeyPair('ES256')
    const set = JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid: '1', alg: 'ES256' }] })
    const login = createServer((_req, res) => res.end(set)).listen(0, '127.0.0.1')
    await once(login, 'listening')
    afterwards(async () => void login.close())
    const port = await freePort()
    const keys = `http://127.0.0.1:${(login.address() as AddressInfo).port}/jwks.json`
    /** The login of this test, and a port that is free here. */
    const here = (block: string) =>
      block
        .replace('https://login.example/.well-known/jwks.json', keys)
        .replace('RECORDINGS_TRUST_PROXY=loopback', `RECORDINGS_TRUST_PROXY=loopback\nPORT=${port}`)
        .replace('127.0.0.1:3000', `127.0.0.1:${port}`)
    /** The second version is the first one's package, whose packages are there. */
    const installedBefore = (block: string) =>
      block.replace(/^npm install .*$/m, 'cp -a /opt/call-recordings/node_modules /opt/call-recordings.new')
    const log = path.join(dir, 'server.log')
    const script = [
      'set -euo pipefail',
      `mkdir ${dir}/etc && cp -a /etc/. ${dir}/etc && mount --bind ${dir}/etc /etc`,
      'for folder in /opt /var/lib /var/backups /usr/local/sbin; do mount -t tmpfs none $folder; done',
      `cd ${dir}`,
      ...shellOf('docs/deploying.md', '## In ten minutes').map(here),
      'echo && echo READY && read -r',
      ...shellOf('docs/deploying.md', '## Upgrading').map(here).map(installedBefore),
      'echo && ls /var/backups/call-recordings/before && echo BACKED',
      'call-recordings verify && call-recordings list leads',
      'ls -d /opt/call-recordings.failed /var/lib/call-recordings.failed',
      'systemctl stop call-recordings',
    ]
    const child = spawn('unshare', ['--mount', 'bash', '-c', script.join('\n')], {
      detached: true,
      env: {
        ...freshEnvironment(),
        npm_config_prefer_offline: 'true',
        npm_config_audit: 'false',
        PATH: `${stubs}:${process.env.PATH}:/usr/sbin:/sbin`,
        SERVER_LOG: log,
      },
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    afterwards(async () => {
      try {
        process.kill(-(child.pid as number), 'SIGKILL')
      } catch {
        // All of it has ended.
      }
    })
    const said: string[] = []
    for await (const line of createInterface({ input: child.stdout })) {
      said.push(line)
      if (line !== 'READY') continue
      const jwt = new SignJWT({ sub: 'crm', role: 'service', iss: 'https://login.example', aud: 'call-recordings' })
      const token = await jwt.setProtectedHeader({ alg: 'ES256', kid: '1' }).setExpirationTime('1h').sign(privateKey)
      const res = await fetch(`http://127.0.0.1:${port}/api/leads/rao`, {
        method: 'PUT',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: '{"telecaller_id":"asha"}',
      })
      expect(res.status).toBe(201)
      child.stdin.write('\n')
    }
    if (child.exitCode === null) await once(child, 'exit')
    expect(child.exitCode, said.join('\n')).toBe(0)
    expect(said.join('\n').match(/"status":"ok"/g)).toHaveLength(3)
    expect(said).toEqual(expect.arrayContaining([expect.stringMatching(/^rao /), '/opt/call-recordings.failed']))
    expect(said).toEqual(expect.arrayContaining(['SHA256SUMS', 'manifest.json', 'recordings.db', 'BACKED']))
    await expect.poll(() => readFile(log, 'utf8')).toMatch(/"msg":"stopped"/)
  },
)

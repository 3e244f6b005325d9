/**
 * Debian's OpenStack Swift with s3api: four servers and a cache under a temporary folder, on free ports. Knows no test.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePorts } from './ports.ts'

const SERVERS = ['account', 'container', 'object'] as const
const PYTHON = '/usr/bin/python3'
const START_DEADLINE_MS = 60_000

/** All of Debian's packages are there. */
export const hasSwift = ['memcached', 'swift-proxy-server', ...SERVERS.map((name) => `swift-${name}-server`)].every(
  (command) => existsSync(`/usr/bin/${command}`),
)

export const ACCESS_KEY = 'test:tester'
export const SECRET_KEY = 'testing'

const accepts = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => resolve(false))
    socket.on('connect', () => {
      socket.destroy()
      resolve(true)
    })
  })

/** Makes the three rings, each of one device, in one process: nine runs of swift-ring-builder take seconds. */
const RINGS = `
import sys
from swift.common.ring import RingBuilder
for word in sys.argv[2:]:
    name, port = word.split(':')
    builder = RingBuilder(2, 1, 0)
    builder.add_dev(dict(region=1, zone=1, ip='127.0.0.1', port=int(port), replication_ip='127.0.0.1',
                         replication_port=int(port), device='disk', weight=1, meta=''))
    builder.rebalance()
    builder.get_ring().save('%s/%s.ring.gz' % (sys.argv[1], name))
`

const storageServer = (name: string, port: number, dir: string) => `
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = ${port}
workers = 0
user = ${userInfo().username}
swift_dir = ${dir}/etc
devices = ${dir}/devices
mount_check = false
log_level = ERROR
[pipeline:main]
pipeline = ${name}-server
[app:${name}-server]
use = egg:swift#${name}
`

const PIPELINE = 'catch_errors cache s3api tempauth bulk slo dlo container-quotas versioned_writes symlink proxy-server'

const proxyServer = (port: number, memcachedPort: number, dir: string) => `
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = ${port}
workers = 0
user = ${userInfo().username}
swift_dir = ${dir}/etc
log_level = ERROR
[pipeline:main]
pipeline = ${PIPELINE}
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
# A storage server that failed is asked again all the same: there is no other.
error_suppression_limit = 1000000
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:${memcachedPort}
[filter:s3api]
use = egg:swift#s3api
s3_acl = false
location = us-east-1
# Of AWS it is 5 MiB; parts of 8 MiB are above both.
min_segment_size = 1048576
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = ${SECRET_KEY} .admin
[filter:bulk]
use = egg:swift#bulk
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
[filter:container-quotas]
use = egg:swift#container_quotas
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_object_versioning = true
[filter:symlink]
use = egg:swift#symlink
`

/** Child processes that end with the tests. */
class Children {
  readonly #all: ChildProcess[] = []
  readonly #dir: string

  constructor(dir: string) {
    this.#dir = dir
    process.once('exit', this.#kill)
  }

  #kill = () => {
    for (const child of this.#all) child.kill('SIGKILL')
  }

  start(command: string, words: readonly string[]): void {
    const child = spawn('/bin/sh', ['-c', `exec "$0" "$@" >>"${this.#dir}/log" 2>&1`, command, ...words], {
      stdio: 'ignore',
      env: { PATH: '/usr/bin:/bin', PYTHONDONTWRITEBYTECODE: '1' },
    })
    this.#all.push(child)
  }

  async run(command: string, words: readonly string[]): Promise<void> {
    this.start(command, words)
    const [code] = await once(this.#all.pop() as ChildProcess, 'exit')
    if (code !== 0) throw new Error(`${command} ended with ${code}:\n${this.log()}`)
  }

  log = (): string => readFileSync(path.join(this.#dir, 'log'), 'utf8').slice(-4_000)

  get haveEnded(): boolean {
    return this.#all.some(({ exitCode, signalCode }) => exitCode !== null || signalCode !== null)
  }

  async end(): Promise<void> {
    process.off('exit', this.#kill)
    this.#kill()
    await Promise.all(this.#all.map((child) => child.exitCode ?? child.signalCode ?? once(child, 'exit')))
  }
}

/** Starts it; ready when all of its servers answer. */
export async function launchSwift(): Promise<{ endpoint: string; stop(): Promise<void> }> {
  const dir = mkdtempSync(path.join(tmpdir(), 's3-'))
  const children = new Children(dir)
  const stop = async () => {
    await children.end()
    rmSync(dir, { recursive: true, force: true })
  }
  try {
    return { endpoint: await start(dir, children), stop }
  } catch (error) {
    await stop()
    throw error
  }
}

async function start(dir: string, children: Children): Promise<string> {
  for (const folder of ['etc', 'devices/disk']) mkdirSync(path.join(dir, folder), { recursive: true })
  const write = (name: string, text: string) => writeFileSync(path.join(dir, 'etc', name), text)
  const [proxyPort = 0, memcachedPort = 0, ...ports] = await freePorts(2 + SERVERS.length)
  const named = SERVERS.map((name, i) => [name, ports[i] as number] as const)
  write('swift.conf', '[swift-hash]\nswift_hash_path_suffix = test\nswift_hash_path_prefix = test\n')
  write('proxy-server.conf', proxyServer(proxyPort, memcachedPort, dir))
  for (const [name, port] of named) write(`${name}-server.conf`, storageServer(name, port, dir))
  await children.run(PYTHON, ['-c', RINGS, path.join(dir, 'etc'), ...named.map(([name, port]) => `${name}:${port}`)])
  children.start('memcached', ['-u', userInfo().username, '-l', '127.0.0.1', '-p', String(memcachedPort), '-m', '32'])
  for (const name of [...SERVERS, 'proxy']) {
    children.start(`/usr/bin/swift-${name}-server`, [path.join(dir, 'etc', `${name}-server.conf`)])
  }

  const deadline = performance.now() + START_DEADLINE_MS
  // One that is asked too early is left alone by the others for a while.
  for (const port of [memcachedPort, ...ports, proxyPort]) {
    while (!(await accepts(port))) {
      if (children.haveEnded || performance.now() > deadline) throw new Error(`Swift did not start:\n${children.log()}`)
      await sleep(50)
    }
  }
  return `http://127.0.0.1:${proxyPort}`
}

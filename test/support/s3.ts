/**
 * An S3 server of a test's own: Debian's OpenStack Swift with s3api, all of it under a temporary folder, on free ports.
 *
 * Needs `swift-proxy swift-account swift-container swift-object python3-swift memcached`. Buckets are looked into by
 * Swift's own protocol, so that what S3 stored is seen from another side.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'vitest'

const SERVERS = ['account', 'container', 'object'] as const
const PYTHON = '/usr/bin/python3'
const START_DEADLINE_MS = 60_000

/** All of Debian's packages are there. */
export const hasS3 = ['memcached', 'swift-proxy-server', ...SERVERS.map((name) => `swift-${name}-server`)].every(
  (command) => existsSync(`/usr/bin/${command}`),
)

/** One line where it is missing: a skipped test, under CI a failed one. */
export function saysWhereS3IsMissing(): void {
  if (hasS3) return
  const title =
    'an S3 server is there (apt-get install swift-proxy swift-account swift-container swift-object memcached)'
  if (process.env.CI) {
    test(title, () => {
      throw new Error('Swift is missing')
    })
  } else test.skip(title, () => {})
}

const ACCESS_KEY = 'test:tester'
const SECRET_KEY = 'testing'

/** Where the SDK looks for them first. */
export const S3_CREDENTIALS = { AWS_ACCESS_KEY_ID: ACCESS_KEY, AWS_SECRET_ACCESS_KEY: SECRET_KEY } as const

/** For stores that are opened in the process of the tests. */
export const withCredentials = (): void => void Object.assign(process.env, S3_CREDENTIALS)

export interface StoredObject {
  name: string
  bytes: number
}

export interface Bucket {
  readonly name: string
  /** What lies in it, by name; of multipart uploads under way the parts are elsewhere. */
  objects(prefix?: string): Promise<StoredObject[]>
  /** Parts of multipart uploads, finished or not. */
  parts(): Promise<StoredObject[]>
  read(name: string): Promise<Buffer | undefined>
  remove(name: string): Promise<void>
  /** From now on it takes no more bytes than this in all; undefined: as many as come. */
  limit(bytes: number | undefined): Promise<void>
}

export interface S3Server {
  readonly endpoint: string
  /** A new bucket. */
  bucket(): Promise<Bucket>
}

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'))
  const ports = await Promise.all(
    servers.map(async (server) => {
      await once(server, 'listening')
      return (server.address() as { port: number }).port
    }),
  )
  for (const server of servers) {
    server.close()
    await once(server, 'close')
  }
  return ports
}

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

/** Swift's own protocol (v1), for what tests look at. */
async function authorized(endpoint: string) {
  const res = await fetch(`${endpoint}/auth/v1.0`, {
    headers: { 'x-auth-user': ACCESS_KEY, 'x-auth-key': SECRET_KEY },
  })
  if (!res.ok) throw new Error(`no token: ${res.status}`)
  const account = res.headers.get('x-storage-url') as string
  const token = res.headers.get('x-auth-token') as string
  return (method: string, name: string, headers: Record<string, string> = {}) =>
    fetch(`${account}/${name}`, { method, headers: { 'x-auth-token': token, ...headers } })
}

type Ask = Awaited<ReturnType<typeof authorized>>

async function listed(ask: Ask, container: string, prefix: string): Promise<StoredObject[]> {
  const all: StoredObject[] = []
  for (;;) {
    const marker = all.at(-1)?.name ?? ''
    const query = new URLSearchParams({ format: 'json', prefix, marker })
    const res = await ask('GET', `${container}?${query}`)
    if (res.status === 404) return []
    const page = (await res.json()) as StoredObject[]
    if (page.length === 0) return all
    all.push(...page.map(({ name, bytes }) => ({ name, bytes })))
  }
}

const namePath = (bucket: string, name: string) => `${bucket}/${name.split('/').map(encodeURIComponent).join('/')}`

function bucketOf(ask: Ask, name: string): Bucket {
  return {
    name,
    objects: (prefix = '') => listed(ask, name, prefix),
    parts: () => listed(ask, `${name}+segments`, ''),
    async read(object) {
      const res = await ask('GET', namePath(name, object))
      const bytes = Buffer.from(await res.arrayBuffer())
      return res.ok ? bytes : undefined
    },
    async remove(object) {
      await ask('DELETE', namePath(name, object))
    },
    async limit(bytes) {
      const res = await ask('POST', name, { 'x-container-meta-quota-bytes': bytes === undefined ? '' : String(bytes) })
      if (!res.ok) throw new Error(`no quota: ${res.status}`)
    },
  }
}

/** @param atEnd takes what ends it */
export async function startS3(atEnd: (end: () => Promise<void>) => void): Promise<S3Server> {
  const dir = mkdtempSync(path.join(tmpdir(), 's3-'))
  const children = new Children(dir)
  atEnd(async () => {
    await children.end()
    rmSync(dir, { recursive: true, force: true })
  })
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
  return s3At(`http://127.0.0.1:${proxyPort}`)
}

/** The server that somebody else has started. */
export async function s3At(endpoint: string): Promise<S3Server> {
  const ask = await authorized(endpoint)
  return {
    endpoint,
    async bucket() {
      const name = `bucket-${randomBytes(6).toString('hex')}`
      const res = await ask('PUT', name)
      if (!res.ok) throw new Error(`no bucket was made: ${res.status}`)
      return bucketOf(ask, name)
    },
  }
}

/**
 * A PostgreSQL of its own for a test file: made at its first use, on a free port, with its data in a temporary folder; both
 * are gone when the process has ended, however it ends. What is committed is on the disk, as in production.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chownSync, existsSync, globSync, mkdtempSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { freePort } from './ports.ts'

/** Debian keeps it off the path. */
const PLACES = [...globSync('/usr/lib/postgresql/*/bin').sort().reverse(), ...(process.env.PATH ?? '').split(':')]
const BIN = PLACES.find((place) => existsSync(path.join(place, 'initdb')))
const START_DEADLINE_MS = 30_000

/** False without the Debian package `postgresql`. */
export const hasPostgres = BIN !== undefined
if (!hasPostgres) console.warn('skipped: what needs PostgreSQL (the package postgresql)')

export interface PostgresServer {
  readonly port: number
  /** Makes an empty database. @returns its address, over TCP */
  database(): Promise<string>
  /** Stops it as a power cut would: no connection hears of it, and the next start recovers from the log. */
  crash(): Promise<void>
  /** Kills all of its processes with -9, as the kernel does when memory is short. */
  kill(): Promise<void>
  /** Starts it again on the same port and the same data; resolves when it takes connections. */
  start(): Promise<void>
}

let server: Promise<PostgresServer> | undefined

/** The one of this process. */
export function postgres(): Promise<PostgresServer> {
  server ??= launch()
  return server
}

/** PostgreSQL refuses to run as root. */
function owner(): { uid: number; gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined
  const users = readFileSync('/etc/passwd', 'utf8')
  const [, uid, gid] = /^postgres:[^:]*:(\d+):(\d+):/m.exec(users) ?? /^nobody:[^:]*:(\d+):(\d+):/m.exec(users) ?? []
  return { uid: Number(uid), gid: Number(gid) }
}

/** Waits for the end of this process on the other end of its pipe, then ends PostgreSQL and removes the folder. */
const KEEPER = `
cat >/dev/null
while pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null) && kill -QUIT "$pid" 2>/dev/null; do sleep 0.1; done
rm -rf "$1"`

function initialise(): string {
  const dir = mkdtempSync(path.join(tmpdir(), 'postgres-'))
  const user = owner()
  if (user) chownSync(dir, user.uid, user.gid)
  const keeper = spawn('sh', ['-c', KEEPER, 'keeper', dir], { stdio: ['pipe', 'ignore', 'ignore'], detached: true })
  keeper.unref()
  ;(keeper.stdin as unknown as { unref(): void }).unref()
  const initdb = spawnSync(
    path.join(BIN as string, 'initdb'),
    [
      ...['--pgdata', path.join(dir, 'data'), '--username', 'postgres', '--auth', 'trust', '--no-sync'],
      // Text is sorted by a language's rules, as on most servers: what relies on the order of bytes has to say so.
      ...['--encoding', 'UTF8', '--locale', 'C.UTF-8', '--locale-provider', 'icu', '--icu-locale', 'en-US'],
      ...['--wal-segsize', '1'],
    ],
    { ...user, encoding: 'utf8', cwd: dir },
  )
  if (initdb.status !== 0) throw new Error(`initdb failed: ${initdb.stderr}`)
  return dir
}

/** One that has ended by itself is as good. */
function endNow(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

function run(dir: string, port: number): ChildProcess {
  const settings = {
    port,
    listen_addresses: '127.0.0.1',
    unix_socket_directories: dir,
    shared_buffers: '32MB',
    max_connections: 200,
    max_wal_size: '64MB',
    log_min_messages: 'fatal',
    // Or each file of each database is synced by itself before it starts after a crash.
    recovery_init_sync_method: 'syncfs',
  }
  const process = spawn(
    path.join(BIN as string, 'postgres'),
    ['-D', path.join(dir, 'data'), ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])],
    { ...owner(), stdio: 'ignore', detached: true, cwd: dir },
  )
  process.unref()
  return process
}

async function launch(): Promise<PostgresServer> {
  const dir = initialise()
  const port = await freePort()
  const addressOf = (name: string) => `postgres://postgres@127.0.0.1:${port}/${name}`
  const root = addressOf('postgres')
  let process: ChildProcess
  let databases = 0

  async function command(sql: string) {
    const client = new pg.Client({ connectionString: root })
    client.on('error', () => {})
    try {
      await client.connect()
      await client.query(sql)
    } finally {
      await client.end().catch(() => {})
    }
  }

  async function start() {
    process = run(dir, port)
    const deadlineMs = performance.now() + START_DEADLINE_MS
    for (;;) {
      const answer = await command('select 1').catch((error: Error) => error)
      if (answer === undefined) return
      if (process.exitCode !== null || performance.now() > deadlineMs) throw answer
      await sleep(20)
    }
  }

  await start()
  return {
    port,
    start,
    async database() {
      databases += 1
      await command(`create database t${databases}`)
      return addressOf(`t${databases}`)
    },
    async kill() {
      const exited = once(process, 'exit')
      const pid = process.pid as number
      process.kill('SIGSTOP')
      // Those of its children that outlive it would keep the next start waiting.
      const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')
      for (const each of [pid, ...children.map(Number)]) endNow(each)
      await exited
    },
    async crash() {
      const exited = once(process, 'exit')
      process.kill('SIGQUIT')
      await exited
    },
  }
}

/**
 * Processes under measurement: started on a core of their own, ended with us, watched through /proc (Linux).
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { type EventEmitter, once } from 'node:events'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { availableParallelism } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { Connection } from './connection.ts'

const SERVER_CORE = '0'
const LOAD_CORE = '1'
const START_MS = 20_000
const STOP_MS = 5_000
/** USER_HZ, which is 100 on every Linux of today. */
const TICKS_PER_SECOND = 100

const children = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of children) child.kill('SIGKILL')
})

let pinned = false

/**
 * Keeps this process, which makes the load, to one core and what it starts from now on to another.
 *
 * @returns why it could not, or undefined
 */
export function pin(): string | undefined {
  if (availableParallelism() < 2) return 'there is one core only'
  try {
    execFileSync('taskset', ['-acp', LOAD_CORE, String(process.pid)], { stdio: 'ignore' })
  } catch {
    return 'taskset (util-linux) does not work here'
  }
  pinned = true
  return undefined
}

export interface Running {
  readonly port: number
  /** User and system time so far. */
  cpuSeconds(): number
  memory(): Memory
  /** `peakMiB` begins anew. */
  resetPeak(): void
  /** Of what was started with a channel. */
  readonly messages: EventEmitter
  tell(message: string): void
  stop(): Promise<void>
}

/** Resident memory in MiB. */
export interface Memory {
  rssMiB: number
  /** Without files and shared memory. */
  anonMiB: number
  /** The kernel's high-water mark. */
  peakMiB: number
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}

/** Starts a server and resolves once it takes connections on `port`. */
export async function start(
  [command, ...args]: readonly [string, ...string[]],
  {
    port,
    cwd,
    env = {},
    hasChannel = false,
  }: { port: number; cwd: string; env?: Record<string, string>; hasChannel?: boolean },
): Promise<Running> {
  const [program, words] = pinned ? ['taskset', ['-c', SERVER_CORE, command, ...args]] : [command, args]
  const child = spawn(program, words, {
    cwd,
    env: { PATH: process.env.PATH, NODE_ENV: 'production', ...env },
    stdio: ['ignore', 'ignore', 'inherit', ...(hasChannel ? (['ipc'] as const) : [])],
  })
  children.add(child)
  const ended = once(child, 'exit').finally(() => children.delete(child))

  const deadlineMs = performance.now() + START_MS
  for (;;) {
    const connection = new Connection(port)
    const listens = await connection.open().then(
      () => true,
      () => false,
    )
    connection.close()
    if (listens) break
    if (!children.has(child)) throw new Error(`${command} ${args.join(' ')} ended before it listened`)
    if (performance.now() > deadlineMs) throw new Error(`${command} ${args.join(' ')} does not listen on ${port}`)
    await sleep(50)
  }

  const pids = descendants(child.pid as number)
  const sum = (field: string) => pids.reduce((total, pid) => total + statusKiB(pid, field), 0) / 1024
  return {
    port,
    cpuSeconds: () => pids.reduce((total, pid) => total + ticks(pid), 0) / TICKS_PER_SECOND,
    memory: () => ({ rssMiB: sum('VmRSS'), anonMiB: sum('RssAnon'), peakMiB: sum('VmHWM') }),
    resetPeak() {
      for (const pid of pids) writeFileSync(`/proc/${pid}/clear_refs`, '5')
    },
    messages: child,
    tell: (message) => void child.send(message),
    async stop() {
      child.kill('SIGTERM')
      await Promise.race([ended, sleep(STOP_MS, undefined, { ref: false })])
      child.kill('SIGKILL')
      await ended
    },
  }
}

/** Fields of /proc/PID/stat from the third on: the name before them may hold anything. */
const statOf = (pid: number): string[] => {
  const text = readFileSync(`/proc/${pid}/stat`, 'latin1')
  return text.slice(text.lastIndexOf(')') + 2).split(' ')
}

const ticks = (pid: number): number => {
  const fields = statOf(pid)
  return Number(fields[11]) + Number(fields[12])
}

const statusKiB = (pid: number, field: string): number =>
  Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? 0)

/** The process and all that it started. */
function descendants(root: number): number[] {
  const found = [root]
  for (const parent of found) {
    for (const entry of readdirSync('/proc')) {
      const pid = Number(entry)
      try {
        if (Number.isInteger(pid) && Number(statOf(pid)[1]) === parent) found.push(pid)
      } catch {
        // It has ended since.
      }
    }
  }
  return found
}

/** Seconds that all cores together have been busy, those stolen by the host of a virtual machine included. */
export function busySeconds(): number {
  const [, times = ''] = /^cpu +(.*)/.exec(readFileSync('/proc/stat', 'latin1')) ?? []
  const [user = 0, nice = 0, system = 0, , , irq = 0, softIrq = 0, steal = 0] = times.split(' ').map(Number)
  return (user + nice + system + irq + softIrq + steal) / TICKS_PER_SECOND
}

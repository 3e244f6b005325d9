/**
 * The server as a process of its own, for what a test cannot do to itself: kill it, starve it, measure it.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { homeOf, objectsIn } from './home.ts'
import { afterwards, clientOf, filesIn, SECRET, type TestClient } from './service.ts'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
/** The Node that the product is pinned to; the one that runs the tests may be another. */
export const NODE = path.join(ROOT, 'node_modules/.bin/node')
const START_DEADLINE_MS = 60_000

/** A line of the server's log. */
export interface LogLine {
  level: string
  msg: string
  [field: string]: unknown
}

export interface Exit {
  code: number | null
  signal: NodeJS.Signals | null
}

export interface ProcessOptions {
  /** Settings over those of the tests. */
  env?: Record<string, string>
  /** The data directory; without it one is made, and removed when the test or the file ends. */
  dir?: string
  /** What runs node: `['strace', '-f', …]`, `['prlimit', '--nofile=64']`. */
  wrapper?: string[]
  nodeArguments?: string[]
}

export interface ServerProcess extends TestClient {
  readonly dir: string
  /** The same after a restart. */
  readonly url: string
  /** Of node itself, also behind a wrapper. */
  readonly pid: number
  /** What the server has logged, from its first start on. */
  readonly lines: LogLine[]
  /** What the process that runs now has written beside its log. */
  readonly stderr: string
  /** The first line that fits, logged already or yet to come. */
  line(fits: (line: LogLine) => boolean, timeoutMs?: number): Promise<LogLine>
  /** Settled once the process that runs now has ended. */
  readonly exited: Promise<Exit>
  /** Sends the signal and waits for the end. */
  kill(signal?: NodeJS.Signals): Promise<Exit>
  /** Starts it again on the same folder and port; what still runs is killed first. */
  restart(env?: Record<string, string>): Promise<void>
  /** Resident memory in bytes, now and at its highest. */
  memory(): Promise<{ rssBytes: number; peakBytes: number }>
  openFiles(): Promise<number>
  /** Nobody reads the log from now on. */
  closeLog(): void
  /** Its reader hangs, until it goes on. */
  pauseLog(): void
  resumeLog(): void
  /** Files under `uploads/` or `recordings/`, as relative paths. */
  files(folder: 'uploads' | 'recordings'): Promise<string[]>
}

/** The environment of a child that is not the test runner's own. */
export const childEnvironment = (dir: string, env: Record<string, string> = {}): Record<string, string> => ({
  PATH: process.env.PATH ?? '',
  HOME: process.env.HOME ?? '',
  NODE_ENV: 'test',
  NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE ?? '',
  PORT: '0',
  RECORDINGS_DATA_DIR: dir,
  RECORDINGS_JWT_SECRET: SECRET,
  RECORDINGS_MIN_FREE_SPACE: '0',
  // Durations are looked at: a machine with other work may take seconds to start a thread.
  RECORDINGS_MEDIA_DEADLINE: '30s',
  ...env,
})

/** The process or, behind a wrapper that waits for it, its descendant that runs node. */
async function nodeBehind(pid: number): Promise<number> {
  for (let at = pid; ; ) {
    const executable = (await readFile(`/proc/${at}/comm`, 'utf8')).trim()
    if (/^(node|MainThread)/.test(executable)) return at
    const children = (await readFile(`/proc/${at}/task/${at}/children`, 'utf8')).trim().split(' ')
    const child = Number(children[0])
    if (!child) return at
    at = child
  }
}

export async function startProcess(options: ProcessOptions = {}): Promise<ServerProcess> {
  const dir = options.dir ?? (await mkdtemp(path.join(tmpdir(), 'call-recordings-')))
  let env = { ...options.env }
  const lines: LogLine[] = []
  let watchers: ((line: LogLine) => void)[] = []
  let child: ChildProcess
  let exited: Promise<Exit>
  let url = ''
  let pid = 0
  let stderr: Buffer[] = []

  function line(fits: (line: LogLine) => boolean, timeoutMs = 10_000, from = 0): Promise<LogLine> {
    const known = lines.slice(from).find(fits)
    if (known) return Promise.resolve(known)
    return new Promise((resolve, reject) => {
      const watch = (each: LogLine) => {
        if (!fits(each)) return
        done()
        resolve(each)
      }
      const done = () => {
        clearTimeout(timer)
        watchers = watchers.filter((other) => other !== watch)
      }
      const timer = setTimeout(() => {
        done()
        reject(new Error(`no such line was logged; the last were ${JSON.stringify(lines.slice(-5))}`))
      }, timeoutMs)
      watchers.push(watch)
    })
  }

  async function start() {
    const [command = NODE, ...words] = [...(options.wrapper ?? []), NODE]
    const from = lines.length
    child = spawn(command, [...words, ...(options.nodeArguments ?? []), 'bin/call-recordings.js', 'start'], {
      cwd: ROOT,
      env: childEnvironment(dir, { ...(url && { PORT: new URL(url).port }), ...(await homeOf(dir)), ...env }),
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const running = child
    const errors: Buffer[] = []
    stderr = errors
    running.stderr?.on('data', (data: Buffer) => errors.push(data))
    if (running.stdout) {
      createInterface(running.stdout).on('line', (text) => {
        // The last line of one that was killed may be half a line.
        const each = /^\{.*\}$/.test(text) ? (JSON.parse(text) as LogLine) : { level: 'raw', msg: text }
        lines.push(each)
        for (const watch of watchers) watch(each)
      })
    }
    exited = once(running, 'close').then(([code, signal]) => ({ code, signal }) as Exit)
    const ended = exited.then(({ code, signal }) => {
      const said = [...lines.slice(from).map((each) => JSON.stringify(each)), Buffer.concat(errors).toString()]
      throw new Error(`the server ended with ${signal ?? code} before it listened:\n${said.join('\n')}`)
    })
    ended.catch(() => {})
    const listening = await Promise.race([line((each) => each.msg === 'listening', START_DEADLINE_MS, from), ended])
    url = listening.url as string
    pid = await nodeBehind(running.pid as number)
  }

  /** The port may still be in the hands of a client that happened on it while nobody listened. */
  async function startAgain() {
    for (let attempt = 1; ; attempt++) {
      try {
        return await start()
      } catch (error) {
        if (attempt === 5 || !/EADDRINUSE/.test((error as Error).message)) throw error
      }
    }
  }

  async function kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<Exit> {
    if (child.exitCode === null && child.signalCode === null) {
      try {
        process.kill(pid, signal)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
      }
    }
    return exited
  }

  const killNow = () => child.kill('SIGKILL')
  process.on('exit', killNow)
  await start()
  afterwards(async () => {
    process.off('exit', killNow)
    await kill()
    if (options.dir === undefined) await rm(dir, { recursive: true, force: true })
  })

  return {
    dir,
    get url() {
      return url
    },
    get pid() {
      return pid
    },
    lines,
    get stderr() {
      return Buffer.concat(stderr).toString()
    },
    line: (fits, timeoutMs) => line(fits, timeoutMs),
    get exited() {
      return exited
    },
    kill,
    async restart(more = {}) {
      await kill()
      env = { ...env, ...more }
      await startAgain()
    },
    async memory() {
      const status = await readFile(`/proc/${pid}/status`, 'utf8')
      const bytes = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) * 1024
      return { rssBytes: bytes('VmRSS'), peakBytes: bytes('VmHWM') }
    },
    closeLog: () => void child.stdout?.destroy(),
    pauseLog: () => void child.stdout?.pause(),
    resumeLog: () => void child.stdout?.resume(),
    openFiles: async () => (await readdir(`/proc/${pid}/fd`)).length,
    files: async (folder) => (await objectsIn(dir, folder)) ?? filesIn(path.join(dir, folder)),
    ...(await clientOf(() => url)),
  }
}

export interface CommandResult {
  code: number | null
  stdout: string
  stderr: string
}

/** Runs one of the operator's commands on a data directory. */
export async function runCommand(
  words: readonly string[],
  { dir, env }: { dir: string; env?: Record<string, string> },
): Promise<CommandResult> {
  const settings = childEnvironment(dir, { ...(await homeOf(dir)), ...env })
  const child = spawn(NODE, ['bin/call-recordings.js', ...words], { cwd: ROOT, env: settings })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (data) => {
    stdout += data
  })
  child.stderr.on('data', (data) => {
    stderr += data
  })
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, stdout, stderr }
}

/** Asks `/livez` over and over from a process of its own. */
export const watchLivez = (url: string, wrapper: readonly string[] = []) => watchAddress(`${url}/livez`, {}, wrapper)

/** Asks the same over and over from a process of its own, whose clock does not wait for the test's other work. */
export async function watchAddress(
  url: string,
  headers: Record<string, string>,
  wrapper: readonly string[] = [],
): Promise<() => Promise<number[]>> {
  const script = `
    const { Agent, get } = require('node:http')
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    const timesMs = []
    const ask = () => {
      const startedAtMs = performance.now()
      get(process.argv[1], { agent, headers: JSON.parse(process.argv[2]) }, (res) => res.resume().on('end', () => {
        timesMs.push(res.statusCode < 300 ? performance.now() - startedAtMs : Infinity)
        if (timesMs.length === 1) process.stderr.write('asking')
        setTimeout(ask, 5)
      }))
    }
    ask()
    process.stdin.resume().on('end', () => { process.stdout.write(JSON.stringify(timesMs), () => process.exit()) })`
  const [command = NODE, ...words] = [...wrapper, NODE]
  const child = spawn(command, [...words, '-e', script, url, JSON.stringify(headers)], {
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  await once(child.stderr, 'data')
  return async () => {
    let text = ''
    child.stdout.on('data', (data) => {
      text += data
    })
    child.stdin.end()
    await once(child, 'close')
    return JSON.parse(text) as number[]
  }
}

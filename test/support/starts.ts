/**
 * The ways in which a server is started: what is run, and who gets the signals that are meant for the service.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, open, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { childEnvironment, type Exit, type LogLine, NODE } from './process.ts'
import { afterwards, clientOf, type TestClient } from './service.ts'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const START_DEADLINE_MS = 40_000

/** False where no process may have a namespace of its own; under CI that is an error. */
export const mayUnshare = spawnSync('unshare', ['--pid', '--fork', '--mount-proc', 'true']).status === 0
if (!mayUnshare && process.env.CI === 'true') throw new Error('unshare (Debian: util-linux) may not be used here')

/** The command of the unit, with the project's folder in place of the one that it names. */
async function unitCommand(): Promise<string[]> {
  const unit = await readFile(path.join(ROOT, 'deploy/call-recordings.service'), 'utf8')
  const command = /^ExecStart=(.*)$/m.exec(unit)?.[1] ?? ''
  return command.replaceAll('/opt/call-recordings/', ROOT).split(' ')
}

const BIN = [NODE, 'bin/call-recordings.js', 'start']

export const WAYS = {
  'npm start': async () => ['npm', 'start'],
  'the command': async () => BIN,
  "the unit's command": unitCommand,
  'process 1 of a container': async () => ['unshare', '--pid', '--fork', '--mount-proc', '--kill-child', ...BIN],
} as const

export type Way = keyof typeof WAYS

export interface Started extends TestClient {
  readonly dir: string
  readonly url: string
  /** Sends the signal to whom an operator would send it. */
  signal(signal: NodeJS.Signals): void
  /** To the whole foreground, as a terminal's Ctrl-C. */
  signalAll(signal: NodeJS.Signals): void
  /** What was started first has ended. */
  readonly exited: Promise<Exit>
  /** Resolves when the server itself is gone, also where who started it went before. */
  gone(): Promise<void>
  /** All that it wrote. */
  text(): Promise<string>
  log(): Promise<LogLine[]>
}

const exists = (pid: number) => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

/** The server's own process below what was started: the last of the line. */
async function serverBelow(pid: number): Promise<number> {
  for (let at = pid; ; ) {
    const children = await readFile(`/proc/${at}/task/${at}/children`, 'utf8').catch(() => '')
    const child = Number(children.trim().split(' ')[0])
    if (!child) return at
    at = child
  }
}

async function poll<T>(look: () => Promise<T | undefined> | T | undefined, what: () => string): Promise<T> {
  const deadlineMs = performance.now() + START_DEADLINE_MS
  for (;;) {
    const seen = await look()
    if (seen !== undefined) return seen
    if (performance.now() > deadlineMs) throw new Error(what())
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/** Whether the process has a handler for SIGHUP, as Node by itself has not. */
async function hearsSignals(pid: number): Promise<true | undefined> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '')
  const caught = BigInt(`0x${/^SigCgt:\s+(\w+)$/m.exec(status)?.[1] ?? 0}`)
  return (caught & 1n) !== 0n || undefined
}

interface StartOptions {
  /** Settings over those of the tests. */
  env?: Record<string, string>
  /** Resolves as soon as the process hears signals: another server holds its data directory, say. */
  isEarly?: boolean
  /** Where a log goes that goes to a file. */
  logFile?: string
}

/** Starts the server in one of the ways; its log goes to a file, or through a pipe. */
export async function startBy(
  way: Way,
  logTo: 'file' | 'pipe',
  { env = {}, isEarly = false, logFile }: StartOptions = {},
): Promise<Started> {
  const dir = await mkdtemp(path.join(tmpdir(), 'call-recordings-'))
  const [command = '', ...words] = await WAYS[way]()
  const file = logFile ?? path.join(dir, 'server.log')
  const sink = await open(file, 'a')
  const child: ChildProcess = spawn(command, words, {
    cwd: ROOT,
    env: childEnvironment(dir, env),
    detached: true, // A group of its own, as in a terminal.
    stdio: ['ignore', logTo === 'file' ? sink.fd : 'pipe', logTo === 'file' ? sink.fd : 'pipe'],
  })
  await sink.close()
  const pieces: Buffer[] = []
  child.stdout?.on('data', (piece: Buffer) => pieces.push(piece))
  child.stderr?.on('data', (piece: Buffer) => pieces.push(piece))
  const exited = once(child, 'close').then(([code, signal]) => ({ code, signal }) as Exit)

  const text = async () => (logTo === 'file' ? await readFile(file, 'utf8') : Buffer.concat(pieces).toString())
  const log = async () =>
    (await text())
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as LogLine)

  const pid = child.pid as number
  let server = pid
  const killNow = () => {
    for (const each of [server, pid]) if (exists(each)) process.kill(each, 'SIGKILL')
  }
  process.on('exit', killNow)
  afterwards(async () => {
    process.off('exit', killNow)
    killNow()
    await exited
    await rm(dir, { recursive: true, force: true })
  })
  let said = ''
  const url = await poll(
    async () => {
      said = await text()
      server = await serverBelow(pid)
      if (isEarly) return (await hearsSignals(server)) && ''
      return (await log()).find((line) => line.msg === 'listening')?.url as string | undefined
    },
    () => `the server did not listen:\n${said}`,
  )

  return {
    dir,
    url,
    exited,
    text,
    log,
    // A container's process 1 is what the runtime signals; elsewhere it is what was started.
    signal: (signal) => void process.kill(way === 'process 1 of a container' ? server : pid, signal),
    signalAll: (signal) => void process.kill(-pid, signal),
    gone: () =>
      poll(
        () => (exists(server) ? undefined : true),
        () => 'the server is still there',
      ).then(() => {}),
    ...(await clientOf(() => url)),
  }
}

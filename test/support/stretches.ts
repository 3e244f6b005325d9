/**
 * How long one turn of a server's event loop takes: so long everybody else waits.
 *
 * Told by the time on the processor that its main thread used between two ticks of a timer, not by a clock: what other
 * processes take of a busy machine doesn't count. They still slow a thread down that runs (caches, the other half of a
 * core), and let work pile up for one turn. That only ever adds: what the code itself needs is the least of several
 * measurements.
 *
 * A turn that waits, for a disk or another thread, uses no processor. It is told of apart: as the time in which the loop
 * was busy, and its thread neither ran nor stood in line for a processor.
 */
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect } from 'vitest'
import { LIMIT_MS } from './costly.ts'
import { type ProcessOptions, type ServerProcess, startProcess } from './process.ts'
import { afterwards } from './service.ts'

/**
 * Runs in the server. A line for each tick: when it was; the milliseconds since the one before that the thread ran, and
 * that it waited. Into a file: a pipe is full when its reader is busy.
 */
const probe = (file: string) => `
  import { openSync, readFileSync, writeSync } from 'node:fs'
  import { performance } from 'node:perf_hooks'
  import { isMainThread } from 'node:worker_threads'
  const inLineMs = () => Number(readFileSync('/proc/self/task/' + process.pid + '/schedstat', 'latin1').split(' ')[1]) / 1e6
  const fd = openSync(${JSON.stringify(file)}, 'a')
  let last = { cpu: process.threadCpuUsage(), loop: performance.eventLoopUtilization(), inLineMs: inLineMs() }
  // Threads are started with it as well.
  if (isMainThread) setInterval(() => {
    const now = { cpu: process.threadCpuUsage(), loop: performance.eventLoopUtilization(), inLineMs: inLineMs() }
    const ranMs = (now.cpu.user - last.cpu.user + now.cpu.system - last.cpu.system) / 1000
    const busyMs = performance.eventLoopUtilization(now.loop, last.loop).active
    const waitedMs = Math.max(0, busyMs - ranMs - (now.inLineMs - last.inLineMs))
    last = now
    writeSync(fd, [Date.now(), ranMs, waitedMs].join(' ') + '\\n')
  }, 5).unref()`

/** So often work is measured at most; once where that shows that nobody waits. */
const MEASUREMENTS = 3
/** No turn may wait for as long as a thread's work takes; for a disk that others use too, it may have to. */
export const MAX_WAIT_MS = 800

/** The longest of the event loop while some work is done, in milliseconds. */
interface Turns {
  /** The main thread ran. */
  ranMs: number
  /** It waited. */
  waitedMs: number
}

export interface MeasuredProcess extends ServerProcess {
  /** @param work what costs the same each time */
  turns(work: () => Promise<unknown>): Promise<Turns>
  /** The same of work that costs less when it is done again. */
  turnsOnce(work: () => Promise<unknown>): Promise<Turns>
  /** The longest that a turn ran. @param work what costs the same each time */
  longestTurn(work: () => Promise<unknown>): Promise<number>
}

export async function startMeasured(options: ProcessOptions = {}): Promise<MeasuredProcess> {
  const dir = mkdtempSync(path.join(tmpdir(), 'turns-'))
  afterwards(() => rm(dir, { recursive: true }))
  const [script, file] = [path.join(dir, 'probe.mjs'), path.join(dir, 'ticks')]
  writeFileSync(script, probe(file))
  const server = await startProcess({ ...options, nodeArguments: ['--import', script] })
  const ticks = () =>
    Array.from(
      readFileSync(file, 'latin1').matchAll(/^(\d+) ([\d.e-]+) ([\d.e-]+)$/gm),
      ([, atMs, ranMs, waitedMs]) => ({
        atMs: Number(atMs),
        ranMs: Number(ranMs),
        waitedMs: Number(waitedMs),
      }),
    )

  async function turnsOnce(work: () => Promise<unknown>): Promise<Turns> {
    const startedAtMs = Date.now()
    await work()
    const endedAtMs = Date.now()
    await expect.poll(() => ticks().at(-1)?.atMs, { timeout: 10_000 }).toBeGreaterThan(endedAtMs)
    const during = ticks().filter(({ atMs }) => atMs >= startedAtMs)
    const longest = (of: (turn: Turns) => number) => Math.max(...during.map(of))
    return { ranMs: longest(({ ranMs }) => ranMs), waitedMs: longest(({ waitedMs }) => waitedMs) }
  }

  async function turns(work: () => Promise<unknown>): Promise<Turns> {
    const least = { ranMs: Number.POSITIVE_INFINITY, waitedMs: Number.POSITIVE_INFINITY }
    for (let i = 0; i < MEASUREMENTS && (least.ranMs >= LIMIT_MS || least.waitedMs >= MAX_WAIT_MS); i++) {
      const once = await turnsOnce(work)
      least.ranMs = Math.min(least.ranMs, once.ranMs)
      least.waitedMs = Math.min(least.waitedMs, once.waitedMs)
    }
    return least
  }

  return Object.assign(Object.create(server) as ServerProcess, {
    turns,
    turnsOnce,
    longestTurn: async (work: () => Promise<unknown>) => (await turns(work)).ranMs,
  })
}

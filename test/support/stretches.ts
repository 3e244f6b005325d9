/**
 * How long one turn of a server's event loop takes: so long everybody else waits.
 *
 * Told by the time on the processor that its main thread used between two ticks of a timer, not by a clock: what other
 * processes take of a busy machine doesn't count.
 */
import { writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect } from 'vitest'
import { type ProcessOptions, type ServerProcess, startProcess } from './process.ts'

/** Runs in the server. A line for each tick: when it was, and the processor's milliseconds since the one before. */
const PROBE = `
  import { writeSync } from 'node:fs'
  let last = process.threadCpuUsage()
  setInterval(() => {
    const { user, system } = process.threadCpuUsage(last)
    last = process.threadCpuUsage()
    writeSync(2, Date.now() + ' ' + (user + system) / 1000 + '\\n')
  }, 5).unref()`

export interface MeasuredProcess extends ServerProcess {
  /** The longest turn while `work` is done, in milliseconds. */
  longestTurn(work: () => Promise<unknown>): Promise<number>
}

export async function startMeasured(options: ProcessOptions = {}): Promise<MeasuredProcess> {
  const file = path.join(tmpdir(), `turns-${process.pid}.mjs`)
  writeFileSync(file, PROBE)
  const server = await startProcess({ ...options, nodeArguments: ['--import', file] })
  const turns = () =>
    Array.from(server.stderr.matchAll(/^(\d+) ([\d.]+)$/gm), ([, at, ms]) => ({ atMs: Number(at), ms: Number(ms) }))
  return Object.assign(Object.create(server) as ServerProcess, {
    async longestTurn(work: () => Promise<unknown>) {
      const startedAtMs = Date.now()
      await work()
      const endedAtMs = Date.now()
      await expect.poll(() => turns().at(-1)?.atMs, { timeout: 10_000 }).toBeGreaterThan(endedAtMs)
      return Math.max(
        ...turns()
          .filter(({ atMs }) => atMs >= startedAtMs)
          .map(({ ms }) => ms),
      )
    },
  })
}

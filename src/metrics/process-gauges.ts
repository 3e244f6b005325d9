/**
 * The process: memory, processor, event loop, and which version runs. Own gauges: some of the library's own break the
 * rules for names that promtool checks.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { Counter, Gauge, type Registry } from 'prom-client'
import { VERSION } from '../process/version.ts'

/** How often the loop is looked at: a hundred times in a second cost a hundredth of a core. */
const LOOK_EVERY_MS = 20

const NANOSECONDS = 1e9
const MICROSECONDS = 1e6

/** @returns what ends it */
export function exposeProcess(registers: Registry[]): () => void {
  new Gauge({
    name: 'call_recordings_build_info',
    help: 'Which version runs, on which Node: always 1.',
    labelNames: ['version', 'node'] as const,
    registers,
  }).set({ version: VERSION, node: process.version }, 1)
  new Gauge({
    name: 'process_start_time_seconds',
    help: 'When the process began, since the epoch.',
    registers,
  }).set(Math.round(performance.timeOrigin / 1_000))
  new Counter({
    name: 'process_cpu_seconds_total',
    help: 'Processor time of the process, all threads.',
    registers,
    collect() {
      const { user, system } = process.cpuUsage()
      this.reset()
      this.inc((user + system) / MICROSECONDS)
    },
  })
  exposeMemory(registers)
  return exposeLoop(registers)
}

function exposeMemory(registers: Registry[]): void {
  const used = new Gauge({ name: 'nodejs_heap_used_bytes', help: 'Of the heap, what is used.', registers })
  const external = new Gauge({
    name: 'nodejs_external_memory_bytes',
    help: 'Beside the heap: bytes on their way, most of all.',
    registers,
  })
  new Gauge({
    name: 'process_resident_memory_bytes',
    help: 'Memory that the process holds.',
    registers,
    collect() {
      const memory = process.memoryUsage()
      this.set(memory.rss)
      used.set(memory.heapUsed)
      external.set(memory.external)
    },
  })
}

function exposeLoop(registers: Registry[]): () => void {
  const delay = monitorEventLoopDelay({ resolution: LOOK_EVERY_MS })
  delay.enable()
  const median = new Gauge({
    name: 'nodejs_eventloop_delay_p50_seconds',
    help: 'How late the event loop was, since it was last asked: half of the looks below.',
    registers,
  })
  const high = new Gauge({
    name: 'nodejs_eventloop_delay_p99_seconds',
    help: 'The same, 99 of 100 looks below.',
    registers,
  })
  new Gauge({
    name: 'nodejs_eventloop_delay_max_seconds',
    help: 'The same, the latest.',
    registers,
    collect() {
      // A look is that late by itself.
      const late = (nanoseconds: number) => Math.max(0, (nanoseconds || 0) / NANOSECONDS - LOOK_EVERY_MS / 1_000)
      median.set(late(delay.percentile(50)))
      high.set(late(delay.percentile(99)))
      this.set(late(delay.max))
      delay.reset()
    },
  })
  return () => delay.disable()
}

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

/** Each asks for itself: what another one has set is told at the next scrape. */
function exposeMemory(registers: Registry[]): void {
  const gauge = (name: string, help: string, read: (memory: NodeJS.MemoryUsage) => number) =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(read(process.memoryUsage()))
      },
    })
  gauge('nodejs_heap_used_bytes', 'Of the heap, what is used.', ({ heapUsed }) => heapUsed)
  gauge('nodejs_external_memory_bytes', 'Beside the heap: bytes on their way, most of all.', ({ external }) => external)
  gauge('process_resident_memory_bytes', 'Memory that the process holds.', ({ rss }) => rss)
}

function exposeLoop(registers: Registry[]): () => void {
  const delay = monitorEventLoopDelay({ resolution: LOOK_EVERY_MS })
  delay.enable()
  // A look is that late by itself.
  const late = (nanoseconds: number) => Math.max(0, (nanoseconds || 0) / NANOSECONDS - LOOK_EVERY_MS / 1_000)
  const gauge = (name: string, help: string, read: () => number) =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(late(read()))
      },
    })
  gauge(
    'nodejs_eventloop_delay_p50_seconds',
    'How late the event loop was, since it was last asked: half of the looks below.',
    () => delay.percentile(50),
  )
  gauge('nodejs_eventloop_delay_p99_seconds', 'The same, 99 of 100 looks below.', () => delay.percentile(99))
  // The last of them, which begins anew.
  gauge('nodejs_eventloop_delay_max_seconds', 'The same, the latest.', () => {
    const { max } = delay
    delay.reset()
    return max
  })
  return () => delay.disable()
}

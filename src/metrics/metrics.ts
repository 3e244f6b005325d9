/**
 * Metrics for Prometheus: what is measured, and the text that tells it. Loaded where they are on and somebody asks, and
 * there alone; what is measured knows nothing of it.
 */
import { Registry } from 'prom-client'
import type { Readiness } from '../http/readiness.ts'
import type { RequestEnded } from '../http/request-log.ts'
import type { Service } from '../service.ts'
import type { Step } from '../timing.ts'
import { exposeCounts } from './counted.ts'
import { oneAtATime } from './one-at-a-time.ts'
import { exposeProcess } from './process-gauges.ts'
import { exposeReadiness } from './ready.ts'
import { observeRequests } from './request-series.ts'
import { observeSteps } from './steps.ts'
import { exposeStock } from './stock.ts'

export interface Metrics {
  /** Hears of each request that has ended. */
  readonly ended: (request: RequestEnded) => void
  /** Hears of each step that has ended. */
  readonly step: (step: Step, seconds: number) => void
  /** All of it, as it is now. */
  text(): Promise<string>
  close(): void
}

export function createMetrics(service: Service, readiness: () => Promise<Readiness>): Metrics {
  const registry = new Registry()
  const registers = [registry]
  const ended = observeRequests(registers)
  const step = observeSteps(registers)
  const endProcess = exposeProcess(registers)
  exposeCounts(registers, service)
  exposeStock(registers, service)
  exposeReadiness(registers, readiness)
  return {
    ended,
    step,
    // Those who ask at once get one answer: its gauges are emptied and filled again, and it asks the database.
    text: oneAtATime(() => registry.metrics()),
    close: endProcess,
  }
}

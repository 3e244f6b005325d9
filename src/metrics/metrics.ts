/**
 * Metrics for Prometheus: what is measured, and the text that tells it. Loaded where they are on, and there alone; what is
 * measured knows nothing of it.
 */
import { Registry } from 'prom-client'
import type { RequestEnded } from '../http/request-log.ts'
import type { Service } from '../service.ts'
import { exposeCounts } from './counted.ts'
import { exposeProcess } from './process-gauges.ts'
import { observeRequests } from './request-series.ts'
import { observeSteps } from './steps.ts'
import { exposeStock } from './stock.ts'

export interface Metrics {
  /** Hears of each request that has ended. */
  readonly ended: (request: RequestEnded) => void
  readonly contentType: string
  /** All of it, as it is now. */
  text(): Promise<string>
  close(): void
}

/** @param patterns of all addresses that there are */
export function createMetrics(service: Service, patterns: readonly string[]): Metrics {
  const registry = new Registry()
  const registers = [registry]
  const ended = observeRequests(registers, patterns)
  const endSteps = observeSteps(registers)
  const endProcess = exposeProcess(registers)
  exposeCounts(registers, service)
  exposeStock(registers, service)
  let asked: Promise<string> | undefined
  return {
    ended,
    contentType: registry.contentType,
    // Those who ask at once get one answer: its gauges are emptied and filled again, and it asks the database.
    text() {
      asked ??= registry.metrics().finally(() => {
        asked = undefined
      })
      return asked
    },
    close() {
      endSteps()
      endProcess()
    },
  }
}

/**
 * Metrics whose code is loaded when they are first asked for: it takes a seventh of a second, which no start should wait for.
 * What happens until then is kept, and counted then; where it grows to be much, it is loaded for that.
 */

import type { Readiness } from '../http/readiness.ts'
import type { RequestEnded } from '../http/request-log.ts'
import type { Service } from '../service.ts'
import { onTimed, STEPS } from '../timing.ts'
import type { Metrics } from './metrics.ts'

/** What is told of the service, which counts of itself no more than it needs. */
type Telling = Omit<Metrics, 'step'>

/** Of the text. */
export const CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8'

/** A request with its steps is a few of them. */
const KEPT_AT_MOST = 500

export function metricsOf(service: Service, readiness: () => Promise<Readiness>): Telling {
  let kept: ((metrics: Metrics) => void)[] = []
  let metrics: Metrics | undefined
  let loading: Promise<Metrics> | undefined

  async function load(): Promise<Metrics> {
    const { createMetrics } = await import('./metrics.ts')
    metrics = createMetrics(service, readiness)
    for (const count of kept) count(metrics)
    kept = []
    return metrics
  }

  const loaded = () => {
    loading ??= load().catch((error) => {
      // It is tried again when it is next asked for.
      loading = undefined
      throw error
    })
    return loading
  }

  function tell(count: (metrics: Metrics) => void): void {
    if (metrics) count(metrics)
    else kept.push(count)
    // It fails again where somebody asks, and is told there.
    if (kept.length > KEPT_AT_MOST) loaded().catch(() => {})
  }

  const ends = STEPS.map((step) => onTimed(step, (seconds) => tell((each) => each.step(step, seconds))))

  return {
    ended: (request: RequestEnded) => tell((each) => each.ended(request)),
    text: async () => (await loaded()).text(),
    close() {
      for (const end of ends) end()
      metrics?.close()
    },
  }
}

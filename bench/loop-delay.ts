/**
 * Preloaded into a server (`--import`): how late its event loop comes to what is due. Tells over the channel to its parent.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { isMainThread } from 'node:worker_threads'

/** Of one stretch, in milliseconds; nanoseconds are Node's. */
export interface LoopDelay {
  p50Ms: number
  p99Ms: number
  maxMs: number
}

const RESOLUTION_MS = 5

if (isMainThread && process.send) {
  const delays = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
  delays.enable()
  // Each tick is the resolution late already when nothing else is.
  const late = (nanoseconds: number) => Math.max(0, nanoseconds / 1e6 - RESOLUTION_MS)
  process.on('message', (what) => {
    if (what === 'begin') delays.reset()
    if (what !== 'end') return
    const told: LoopDelay = {
      p50Ms: late(delays.percentile(50)),
      p99Ms: late(delays.percentile(99)),
      maxMs: late(delays.max),
    }
    process.send?.(told)
  })
  process.channel?.unref()
}

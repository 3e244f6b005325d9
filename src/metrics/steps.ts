/** How long the service's own steps take. */
import { Histogram, type Registry } from 'prom-client'
import { onTimed, STEPS } from '../timing.ts'

/** Seconds. */
const BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10]

/** @returns what ends it */
export function observeSteps(registers: Registry[]): () => void {
  const durations = new Histogram({
    name: 'call_recordings_step_duration_seconds',
    help:
      'Steps of the service: an upload’s finish, a sync to the disk, a transaction of the database with its wait, a request ' +
      'to the store, a look into media.',
    labelNames: ['step'] as const,
    buckets: BUCKETS,
    registers,
  })
  const ends = STEPS.map((step) => {
    const labels = { step }
    durations.zero(labels)
    return onTimed(step, (seconds) => durations.observe(labels, seconds))
  })
  return () => {
    for (const end of ends) end()
  }
}

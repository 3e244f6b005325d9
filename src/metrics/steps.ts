/** How long the service's own steps take. */
import { Histogram, type Registry } from 'prom-client'
import { STEPS, type Step } from '../timing.ts'

/** Seconds. */
const BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10]

/** @returns what hears of each step that has ended */
export function observeSteps(registers: Registry[]): (step: Step, seconds: number) => void {
  const durations = new Histogram({
    name: 'call_recordings_step_duration_seconds',
    help:
      'Steps of the service: an upload’s finish, a sync to the disk, a transaction of the database with its wait, a request ' +
      'to the store, a look into media.',
    labelNames: ['step'] as const,
    buckets: BUCKETS,
    registers,
  })
  for (const step of STEPS) durations.zero({ step })
  return (step, seconds) => durations.observe({ step }, seconds)
}

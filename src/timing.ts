/**
 * How long the service's own steps take, told to whoever asked to know: nobody, where there are no metrics, and then
 * nothing is measured.
 *
 * By channels of the process, so that what does the work knows nothing of what counts it.
 */
import { type Channel, channel } from 'node:diagnostics_channel'

/** What is timed: an upload's finish, a sync to the disk, a transaction, a request to the store, a look into media. */
export const STEPS = ['finish', 'sync', 'database', 'store', 'inspection'] as const
export type Step = (typeof STEPS)[number]

const CHANNELS: Readonly<Record<Step, Channel>> = {
  finish: channel('call-recordings:finish'),
  sync: channel('call-recordings:sync'),
  database: channel('call-recordings:database'),
  store: channel('call-recordings:store'),
  inspection: channel('call-recordings:inspection'),
}

/** Runs the work, and tells how many seconds it took, whatever came of it. */
export function timed<T>(step: Step, work: () => Promise<T>): Promise<T> {
  const told = CHANNELS[step]
  return told.hasSubscribers ? measured(told, work) : work()
}

async function measured<T>(told: Channel, work: () => Promise<T>): Promise<T> {
  const startedAtMs = performance.now()
  try {
    return await work()
  } finally {
    told.publish((performance.now() - startedAtMs) / 1_000)
  }
}

/** @returns what ends it */
export function onTimed(step: Step, hear: (seconds: number) => void): () => void {
  const listener = (seconds: unknown) => hear(seconds as number)
  CHANNELS[step].subscribe(listener)
  return () => CHANNELS[step].unsubscribe(listener)
}

/**
 * Memory after a load: what the heap grew by is given back to the system once no request has come for a while.
 *
 * V8 collects when something is allocated. A server that has nothing to do allocates nothing, so that what a load left
 * behind would be held for as long as it is quiet.
 */
import v8 from 'node:v8'
import vm from 'node:vm'

const LOOK_EVERY_MS = 1_000
/** So long no request must have come: one that comes during a collection waits for it, some 100 ms on a slow core. */
const AT_REST_MS = 2_000
/** A heap that has grown by less is left alone. */
const GROWTH = 1.25

type Collect = (options: { type: 'major'; execution: 'sync'; flavor: 'last-resort' }) => void

/** @returns the timer, which keeps no process alive */
export function giveBackAtRest(quietForMs: () => number): NodeJS.Timeout {
  v8.setFlagsFromString('--expose-gc')
  const collect = vm.runInNewContext('gc') as Collect
  const enoughBytes = v8.getHeapStatistics().total_heap_size * GROWTH
  return setInterval(() => {
    if (quietForMs() < AT_REST_MS || v8.getHeapStatistics().total_heap_size <= enoughBytes) return
    // No other flavour shrinks the heap.
    collect({ type: 'major', execution: 'sync', flavor: 'last-resort' })
  }, LOOK_EVERY_MS).unref()
}

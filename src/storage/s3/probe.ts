/** Whether a store takes a write just now, asked seldom however often somebody wants to know. */
import { PROBE } from './bucket-layout.ts'
import type { ObjectStore } from './s3-client.ts'

const GOOD_FOR_MS = 5_000
const NOTHING = Buffer.alloc(0)

/** @returns a probe that rejects with what the last write failed with */
export function createProbe(store: ObjectStore): () => Promise<void> {
  let last: { asked: Promise<void>; atMs: number } | undefined
  return () => {
    const nowMs = performance.now()
    if (last === undefined || nowMs - last.atMs >= GOOD_FOR_MS) {
      last = { asked: store.put(PROBE, NOTHING), atMs: nowMs }
    }
    return last.asked
  }
}

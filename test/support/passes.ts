import type { Pass } from '../../src/doors/legacy/passes.ts'

/** Does a whole pass in one go. */
export function atOnce<T>(pass: Pass<T>): T {
  for (;;) {
    const { done, value } = pass.next()
    if (done) return value
  }
}

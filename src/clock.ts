/** The time, passed in so that tests can move it. */
export interface Clock {
  /** Milliseconds since the epoch. */
  now(): number
  /** Milliseconds that have passed since some moment, however `now` was set meanwhile. Without it, `now` is believed. */
  passed?(): number
}

export const systemClock: Clock = { now: () => Date.now(), passed: () => performance.now() }

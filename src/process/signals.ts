/**
 * The signals that a process is sent: which end the service, and which mean nothing to it.
 *
 * They are listened to from the first moment on, before anything else is loaded. Left alone, they end the process
 * without a word or, in process 1 of a container, do nothing at all; `SIGUSR1` opens Node's debugger. Those of a fault of
 * the process itself (`SIGSEGV` …), of job control and of Node's profiler are left alone.
 */

/** `SIGHUP`: the terminal is gone. `SIGPWR`: the machine is about to go. `SIGXCPU`: the processor time is used up. */
export const ENDING = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGPWR', 'SIGXCPU'] as const
const MEANINGLESS = ['SIGUSR1', 'SIGUSR2', 'SIGALRM', 'SIGVTALRM', 'SIGIO', 'SIGSTKFLT'] as const

const PARENT_LOOK_EVERY_MS = 1_000

export interface Signals {
  /** Hands on each signal, and first those that came before. */
  handle(onSignal: (signal: NodeJS.Signals) => void): void
}

export function listenForSignals(): Signals {
  const early: NodeJS.Signals[] = []
  let hand = (signal: NodeJS.Signals): void => {
    early.push(signal)
  }
  for (const signal of [...ENDING, ...MEANINGLESS]) process.on(signal, () => hand(signal))
  return {
    handle(onSignal) {
      hand = onSignal
      for (const signal of early.splice(0)) onSignal(signal)
    },
  }
}

/** Calls back, once, when the process that started this one has ended. */
export function whenParentEnds(onEnd: () => void): void {
  const parent = process.ppid
  const timer = setInterval(() => {
    if (process.ppid === parent) return
    clearInterval(timer)
    onEnd()
  }, PARENT_LOOK_EVERY_MS).unref()
}

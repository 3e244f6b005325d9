/**
 * Ctrl-C, and what else ends a command: it says that it was broken off, and ends with 1. Libraries listen for these signals
 * too, so how many do tells nothing.
 */
import { askToEnd } from '../commands/broken-off.ts'
import type { EndingOutput } from '../commands/output.ts'

const ENDING = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** @returns ends that */
export function endWhenBrokenOff(output: EndingOutput): () => void {
  const onSignal = (signal: NodeJS.Signals) => {
    if (askToEnd()) return
    // A bar in a terminal, and the ^C itself, stand on the line.
    if (process.stderr.isTTY) process.stderr.write('\r\x1b[K')
    output.end(1, `broken off by ${signal}`)
    process.exit(1)
  }
  for (const signal of ENDING) process.on(signal, onSignal)
  return () => {
    for (const signal of ENDING) process.off(signal, onSignal)
  }
}

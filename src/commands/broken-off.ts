/** What a command does when it is asked to end on its way, as by Ctrl-C (`cli/ending-signals.ts`). */
import { rmSync } from 'node:fs'

/** What is half made goes when the process ends. @returns ends that: it is whole, or removed already */
export function goesAtExit(file: string): () => void {
  const remove = () => rmSync(file, { recursive: true, force: true })
  process.once('exit', remove)
  return () => void process.off('exit', remove)
}

/** What the command that runs does to come to its end by itself: of the process, as signals are. */
const OWN_WAYS = new Set<() => void>()

/** It comes to its end by itself, soon after it is asked the first time. @returns ends that */
export function endsByItself(stop: () => void): () => void {
  OWN_WAYS.add(stop)
  return () => void OWN_WAYS.delete(stop)
}

/** @returns whether it will end by itself */
export function askToEnd(): boolean {
  const ways = [...OWN_WAYS]
  OWN_WAYS.clear()
  for (const stop of ways) stop()
  return ways.length > 0
}

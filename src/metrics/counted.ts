/** What is counted anyway, as counters: read when somebody asks, so that counting costs nothing more. */
import { Counter, type Registry } from 'prom-client'
import type { Claims } from '../db/claims.ts'
import type { Events } from '../events.ts'
import { droppedLines, type Log } from '../log.ts'

interface Parts {
  events: Events
  claims: Claims
  log: Log
}

export function exposeCounts(registers: Registry[], { events, claims, log }: Parts): void {
  counter(registers, {
    name: 'call_recordings_events_total',
    help: 'What happened to uploads, recordings and the service, by the word that a line of the log has as its event.',
    label: 'event',
    read: () => events.counters,
  })
  counter(registers, {
    name: 'call_recordings_claims_total',
    help: 'Uploads that another instance had: waited for, and taken over from one that did not let go.',
    label: 'outcome',
    read: () => ({ waited_for: claims.counts.waitedFor, taken_over: claims.counts.takenOver }),
  })
  new Counter({
    name: 'call_recordings_log_lines_dropped_total',
    help: 'Lines of the log that could not be written.',
    registers,
    collect() {
      this.reset()
      this.inc(droppedLines(log))
    },
  })
}

interface Counts {
  name: string
  help: string
  label: string
  read: () => Readonly<Record<string, number>>
}

function counter(registers: Registry[], { name, help, label, read }: Counts): void {
  new Counter({
    name,
    help,
    labelNames: [label],
    registers,
    collect() {
      this.reset()
      for (const [value, count] of Object.entries(read())) this.inc({ [label]: value }, count)
    },
  })
}

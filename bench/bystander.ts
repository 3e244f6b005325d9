/**
 * Who has little to ask while others upload: a process of its own, whose clock does not wait for the load. An answer that
 * takes longer than the pause to the next request stands for those that would have been sent meanwhile, and waited too.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { Connection, type Request } from './connection.ts'

/** One request over and over. */
export interface Probe {
  request: Request
  status: number
  everyMs: number
  /** On a connection of its own each time, which is part of what is timed. */
  isNew?: boolean
  /** So many ask, each on its connection, one after the other within `everyMs`; 1 where it is left out. */
  askers?: number
}

export type Probes = Record<string, Probe>
/** Milliseconds, by the name of the probe. */
export type Waits = Record<string, number[]>

interface Asker {
  port: number
  probe: Probe
  afterMs: number
  waits: number[]
}

let isOver = false

async function ask(first: Connection, { port, probe, afterMs, waits }: Asker): Promise<void> {
  const { request, status, everyMs, isNew } = probe
  let connection = first
  for (let dueMs = performance.now() + afterMs; ; ) {
    await sleep(Math.max(0, dueMs - performance.now()))
    if (isOver) break
    const beginMs = performance.now()
    await connection.ask(status, request)
    const endMs = performance.now()
    for (let waitMs = endMs - beginMs; waitMs > 0; waitMs -= everyMs) waits.push(waitMs)
    dueMs += everyMs * Math.max(1, Math.ceil((endMs - dueMs) / everyMs))
    if (!isNew) continue
    connection.close()
    connection = new Connection(port)
  }
  connection.close()
}

async function askAll(port: number, probes: Probes): Promise<void> {
  const waits: Waits = {}
  const askers: Asker[] = []
  for (const [name, probe] of Object.entries(probes)) {
    const each: number[] = []
    waits[name] = each
    const { askers: count = 1, everyMs } = probe
    for (let i = 0; i < count; i++) askers.push({ port, probe, afterMs: (i * everyMs) / count, waits: each })
  }
  const connections = await Promise.all(
    askers.map(async ({ probe }) => {
      const connection = new Connection(port)
      if (!probe.isNew) await connection.open()
      return connection
    }),
  )
  process.send?.('ready')
  await Promise.all(askers.map((asker, i) => ask(connections[i] as Connection, asker)))
  process.send?.(waits)
  process.disconnect()
}

process.on('message', (message: { port: number; probes: Probes } | 'end') => {
  if (message === 'end') isOver = true
  else void askAll(message.port, message.probes)
})

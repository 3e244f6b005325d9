/**
 * Who has little to ask while others upload: a process of its own, whose clock does not wait for the load. Each request is
 * timed from the moment when it was due, so that those that had to wait for one before them count their wait.
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
  for (let dueMs = performance.now() + afterMs; !isOver; dueMs += everyMs) {
    await sleep(Math.max(0, dueMs - performance.now()))
    if (isOver) break
    await connection.ask(status, request)
    waits.push(performance.now() - dueMs)
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

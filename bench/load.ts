/**
 * The load: operations on many connections at once, what they took, and whether what they left behind is right.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { Connection } from './connection.ts'
import { quantile } from './figures.ts'
import { busySeconds, type Running } from './processes.ts'

/** Looks afterwards whether what was told is so. */
export type Check = (connection: Connection) => Promise<void>
/** What is done over and over; throws where an answer is not what it must be. `worker` counts from 0. */
export type Operation = (connection: Connection, worker: number) => Promise<Check>

export interface Load {
  connections: number
  /** For how long operations begin; without it each connection does one. */
  seconds?: number
  /** A run is so many times this load, in turn with those of the others; 1 where it is left out. */
  slices?: number
  /** Connections begin one after the other within this time. */
  spreadMs?: number
}

export interface Run {
  operations: number
  wallSeconds: number
  p50Ms: number
  p99Ms: number
  /** Of the server, user and system. */
  cpuMsPerOperation: number
  peakMiB: number
  /** The most seen in looks 100 ms apart. */
  peakAnonMiB: number
  /** Cores kept busy by neither the server nor the load, on average: other work on the machine. */
  otherCores: number
}

/** A load that went through without a pause. */
export interface Slice {
  tookMs: readonly number[]
  wallSeconds: number
  /** Of the server, user and system. */
  cpuSeconds: number
  /** Of neither the server nor the load. */
  otherSeconds: number
  peakMiB: number
  peakAnonMiB: number
}

const LOOK_EVERY_MS = 100

/** @param checks how many of the workers' last operations are looked into afterwards */
export async function run(running: Running, operation: Operation, load: Load, checks: number): Promise<Run> {
  return together([await slice(running, operation, load, checks)])
}

export function together(slices: readonly Slice[]): Run {
  const sum = (of: (each: Slice) => number) => slices.reduce((total, each) => total + of(each), 0)
  const tookMs = slices.flatMap((each) => each.tookMs)
  const wallSeconds = sum((each) => each.wallSeconds)
  return {
    operations: tookMs.length,
    wallSeconds,
    p50Ms: quantile(tookMs, 0.5),
    p99Ms: quantile(tookMs, 0.99),
    cpuMsPerOperation: (sum((each) => each.cpuSeconds) * 1000) / tookMs.length,
    peakMiB: Math.max(...slices.map((each) => each.peakMiB)),
    peakAnonMiB: Math.max(...slices.map((each) => each.peakAnonMiB)),
    otherCores: Math.max(0, sum((each) => each.otherSeconds) / wallSeconds),
  }
}

/** @param checks how many of the workers' last operations are looked into afterwards */
export async function slice(running: Running, operation: Operation, load: Load, checks: number): Promise<Slice> {
  const connections = Array.from({ length: load.connections }, () => new Connection(running.port))
  await Promise.all(connections.map((connection) => connection.open()))
  const lastChecks: Check[] = []
  const tookMs: number[] = []
  let peakAnonMiB = 0
  const look = () => {
    peakAnonMiB = Math.max(peakAnonMiB, running.memory().anonMiB)
  }
  running.resetPeak()
  look()
  const looking = setInterval(look, LOOK_EVERY_MS)
  const before = { cpu: running.cpuSeconds(), own: process.cpuUsage(), busy: busySeconds() }
  const startMs = performance.now()
  const untilMs = startMs + (load.seconds ?? 0) * 1000

  await Promise.all(
    connections.map(async (connection, worker) => {
      if (load.spreadMs) await sleep((worker / load.connections) * load.spreadMs)
      do {
        const beginMs = performance.now()
        lastChecks[worker] = await operation(connection, worker)
        tookMs.push(performance.now() - beginMs)
      } while (performance.now() < untilMs)
    }),
  )

  const wallSeconds = (performance.now() - startMs) / 1000
  const cpuSeconds = running.cpuSeconds() - before.cpu
  const own = process.cpuUsage(before.own)
  const otherSeconds = busySeconds() - before.busy - cpuSeconds - (own.user + own.system) / 1e6
  clearInterval(looking)
  const { peakMiB } = running.memory()
  for (const check of lastChecks.slice(0, checks)) await check(connections[0] as Connection)
  for (const connection of connections) connection.close()
  return { tookMs, wallSeconds, cpuSeconds, otherSeconds, peakMiB, peakAnonMiB }
}

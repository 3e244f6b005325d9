/**
 * What others wait while uploads come in: `/livez`, a range and a new connection beside more and more of them.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { MIB, wav } from './bodies.ts'
import type { Probe, Probes, Waits } from './bystander.ts'
import { Connection } from './connection.ts'
import { figure, median, quantile, table, withSpread } from './figures.ts'
import { type Load, type Operation, slice } from './load.ts'
import type { LoopDelay } from './loop-delay.ts'
import { abilitiesOfOurs, asTelecaller, RECORDINGS, startOurs } from './ours.ts'
import type { Running } from './processes.ts'

interface Stretch {
  perSecond: number
  waits: Waits
  loop: LoopDelay
}

interface Options {
  dir: string
  runs: number
  quick: boolean
}

const RANGE_BYTES = 64 * 1024
/** Played while others upload. */
const PLAYED = wav(8 * MIB)

/** Else 2,048 connections of one address are all. */
const BEHIND_A_PROXY = { RECORDINGS_TRUST_PROXY: 'loopback' }

const LIVEZ: Probe = { request: { method: 'GET', path: '/livez' }, status: 200, everyMs: 20 }

async function rangeOf(port: number, can: Awaited<ReturnType<typeof abilitiesOfOurs>>): Promise<Probe> {
  const connection = new Connection(port)
  await can.inOne(PLAYED)(connection, 0)
  const headers = await asTelecaller()
  const { body } = await connection.ask(200, { method: 'GET', path: RECORDINGS, headers, keep: true })
  connection.close()
  const [{ id }] = JSON.parse(body.toString()).recordings as [{ id: string }]
  const range = { ...headers, Range: `bytes=${MIB}-${MIB + RANGE_BYTES - 1}` }
  return { request: { method: 'GET', path: `${RECORDINGS}/${id}`, headers: range }, status: 206, everyMs: 50 }
}

/** One load on a server, and those who ask beside it. */
async function beside(running: Running, probes: Probes, work: () => Promise<number>): Promise<Stretch> {
  const asking = fork(path.join(import.meta.dirname, 'bystander.ts'))
  asking.send({ port: running.port, probes })
  await once(asking, 'message') // it is connected
  running.tell('begin')
  const perSecond = await work()
  const loop = once(running.messages, 'message') as Promise<[LoopDelay]>
  running.tell('end')
  const [delay] = await loop
  const told = once(asking, 'message') as Promise<[Waits]>
  asking.send('end')
  const [waits] = await told
  return { perSecond, waits, loop: delay }
}

async function withServer<T>(
  dir: string,
  use: (running: Running, can: Awaited<ReturnType<typeof abilitiesOfOurs>>) => Promise<T>,
): Promise<T> {
  mkdirSync(dir)
  const running = await startOurs(dir, { tellsLoopDelay: true, env: BEHIND_A_PROXY })
  try {
    return await use(running, await abilitiesOfOurs(running.port, dir, PLAYED))
  } finally {
    await running.stop()
    rmSync(dir, { recursive: true, force: true })
  }
}

const uploading = (running: Running, operation: Operation, load: Load) => async () => {
  const { tookMs, wallSeconds } = await slice(running, operation, load, 1)
  return tookMs.length / wallSeconds
}

const pooled = (stretches: readonly Stretch[], name: string) => stretches.flatMap(({ waits }) => waits[name] ?? [])
const quantiles = (waits: readonly number[]) => [0.5, 0.99, 0.999].map((q) => figure(quantile(waits, q))).join(' / ')
const ofRuns = (stretches: readonly Stretch[], name: string) =>
  withSpread(stretches.map(({ waits }) => quantile(waits[name] ?? [], 0.99)))

async function besideUploads({ dir, runs, quick }: Options, say: (line?: string) => void): Promise<unknown> {
  const call = wav(MIB)
  const results: Record<string, Stretch[]> = {}
  const names = ['/livez', 'a range', 'a new connection']
  const rows = [
    ['at once', 'uploads/s', ...names.flatMap((name) => [name, 'p99 by run']), 'loop p50', 'loop p99', 'loop max'],
  ]
  for (const connections of quick ? [16] : [1, 16, 64, 256, 1024]) {
    const stretches: Stretch[] = []
    for (let i = 0; i < runs; i++) {
      const stretch = await withServer(path.join(dir, `${connections}-${i}`), async (running, can) => {
        const probes: Probes = {
          '/livez': LIVEZ,
          'a range': await rangeOf(running.port, can),
          'a new connection': { ...LIVEZ, everyMs: 100, isNew: true },
        }
        const operation = can.inTwo(call)
        if (!quick) await slice(running, operation, { connections: 16, seconds: 1 }, 0) // what is hot is compiled
        return beside(running, probes, uploading(running, operation, { connections, seconds: quick ? 0.5 : 4 }))
      })
      stretches.push(stretch)
    }
    results[connections] = stretches
    const loop = (of: (delay: LoopDelay) => number) => figure(median(stretches.map((each) => of(each.loop))))
    rows.push([
      String(connections),
      withSpread(stretches.map((each) => each.perSecond)),
      ...names.flatMap((name) => [quantiles(pooled(stretches, name)), ofRuns(stretches, name)]),
      loop(({ p50Ms }) => p50Ms),
      loop(({ p99Ms }) => p99Ms),
      loop(({ maxMs }) => maxMs),
    ])
  }
  say('p50 / p99 / p99.9 in ms')
  say(table(rows))
  return results
}

/** Fifty who listen, alone and beside two thousand uploads of 64 KiB, each trickled. */
async function besideSlow({ dir, runs, quick }: Options, say: (line?: string) => void): Promise<unknown> {
  const [slow, parts, everyMs] = quick ? [50, 4, 100] : [2_000, 32, 500]
  const name = 'listeners'
  const alone: Stretch[] = []
  const together: Stretch[] = []
  for (let i = 0; i < runs; i++) {
    await withServer(path.join(dir, `slow-${i}`), async (running, can) => {
      const probes: Probes = { [name]: { ...(await rangeOf(running.port, can)), everyMs: 250, askers: 50 } }
      const trickle = can.inTwo(wav(64 * 1024), { pace: { parts, everyMs } })
      const load = { connections: slow, spreadMs: everyMs }
      const wait = () => sleep(quick ? 500 : 5_000).then(() => 0)
      alone.push(await beside(running, probes, wait))
      together.push(await beside(running, probes, uploading(running, trickle, load)))
    })
  }
  say(
    table([
      [`listeners, p50 / p99 / p99.9 in ms`, '', 'p99 by run', 'loop p99'],
      ...([['alone', alone] as const, [`beside ${slow} slow uploads`, together] as const] as const).map(
        ([what, all]) => [
          what,
          quantiles(pooled(all, name)),
          ofRuns(all, name),
          figure(median(all.map(({ loop }) => loop.p99Ms))),
        ],
      ),
    ]),
  )
  return { alone, together }
}

export async function tails(options: Options, say: (line?: string) => void): Promise<unknown> {
  const uploads = await besideUploads(options, say)
  say()
  return { uploads, slow: await besideSlow(options, say) }
}

/**
 * The work that is measured: which load, on whom, and what we want of it.
 */
import { MIB, wav } from './bodies.ts'
import type { Abilities, Contestant } from './contestant.ts'
import type { Load, Operation, Run } from './load.ts'
import { oursTraced, unmeasured } from './ours.ts'
import { busboy, jsonAppend, multer, nginx, nodeBare, sendFile, tusBare, tusExpress } from './peers.ts'

export interface Work {
  name: string
  what: string
  unit: string
  /** A run's figure, in `unit`. */
  figureOf(run: Run): number
  operation(can: Abilities): Operation | Promise<Operation> | undefined
  load: Load
  /** Instead of one run. */
  warmUp?: { operation: Work['operation']; load: Load }
  /** Files lie on a disk that keeps what was synced, instead of in memory. */
  onDisk?: boolean
  /** Nothing is uploaded that must go between the runs. */
  keeps?: boolean
  runs?: number
  peers: readonly Contestant[]
  targets?: readonly Target[]
}

/** What ours divided by a peer's is to be. */
export interface Target {
  against: Contestant
  ratio: number
  /** At most instead of at least. */
  isLimit?: boolean
  hopedFor: string
}

export const perSecond = ({ operations, wallSeconds }: Run) => operations / wallSeconds
const megabytesPerSecond = (bytes: number) => (run: Run) => (perSecond(run) * bytes) / 1e6

export const MEDIA_BYTES = 50 * MIB

/** @param quick a look at every kind of work, too short to tell anything about time */
export function allWork(quick: boolean): Work[] {
  const call = wav(MIB)
  const timed = quick ? { seconds: 0.3 } : { seconds: 0.5, slices: 5 }
  const bigTimes = quick ? 16 : 1024
  const slow = quick ? { connections: 50, parts: 5, everyMs: 100 } : { connections: 500, parts: 40, everyMs: 250 }
  const ranges = {
    unit: 'ranges/s',
    figureOf: perSecond,
    operation: (can: Abilities) => can.ranges?.(),
    load: { connections: 64, ...timed },
    keeps: true,
  }
  const files = { unit: 'files/s', figureOf: perSecond, load: { connections: 16, ...timed } }
  return [
    {
      ...files,
      name: 'small-c16',
      what: '1 MiB by POST + PATCH, 16 at once',
      operation: (can) => can.inTwo?.(call),
      peers: [tusExpress, tusBare, nodeBare],
      targets: [
        { against: tusExpress, ratio: 2, hopedFor: '2.4×' },
        { against: nodeBare, ratio: 0.73, hopedFor: '0.85×' },
      ],
    },
    {
      ...files,
      name: 'small-c16-disk',
      what: 'the same on a disk: ours syncs everything, the peer nothing',
      onDisk: true,
      operation: (can) => can.inTwo?.(call),
      peers: [tusExpress],
      targets: [{ against: tusExpress, ratio: 1.5, hopedFor: '2×' }],
    },
    {
      ...files,
      name: 'small1-c16',
      what: '1 MiB by one POST, 16 at once',
      operation: (can) => can.inOne?.(call),
      peers: [tusExpress, tusBare, nodeBare],
      targets: [
        { against: tusExpress, ratio: 1.9, hopedFor: '2.4×' },
        { against: nodeBare, ratio: 0.7, hopedFor: '0.85×' },
      ],
    },
    {
      name: 'big',
      what: `${bigTimes} MiB by one PATCH`,
      unit: 'MB/s',
      figureOf: megabytesPerSecond(bigTimes * MIB),
      operation: (can) => can.inTwo?.(call, { times: bigTimes }),
      load: { connections: 1 },
      peers: [tusExpress, tusBare, nodeBare],
      targets: [{ against: nodeBare, ratio: 1.14, hopedFor: '1.2×' }],
    },
    {
      ...files,
      name: 'chunks',
      what: '1 MiB chunks in Base64 in JSON, 16 recordings at once',
      unit: 'chunks/s',
      operation: (can) => can.chunks?.(call),
      peers: [jsonAppend],
      targets: [{ against: jsonAppend, ratio: 2.2, hopedFor: '2.5×' }],
    },
    {
      ...files,
      name: 'form-c16',
      what: '1 MiB in a multipart form, 16 at once',
      operation: (can) => can.form?.(call),
      peers: [busboy, multer],
      targets: [{ against: busboy, ratio: 1, hopedFor: '2×' }],
    },
    {
      ...ranges,
      name: 'range',
      what: '64 KiB from anywhere in 50 MiB, 64 at once',
      peers: [sendFile, nginx],
      targets: [{ against: sendFile, ratio: 1.35, hopedFor: '2×' }],
    },
    {
      ...ranges,
      name: 'range-traced',
      what: 'the same, beside ours with traces on',
      peers: [oursTraced],
    },
    {
      ...files,
      name: 'small1-traced',
      what: '1 MiB by one POST, 16 at once, beside ours with traces on',
      operation: (can) => can.inOne?.(call),
      peers: [oursTraced],
    },
    {
      ...ranges,
      name: 'metrics',
      what: '64 KiB from anywhere in 50 MiB, 16 at once: what it costs to measure requests',
      load: { connections: 16, ...timed },
      peers: [unmeasured],
      targets: [{ against: unmeasured, ratio: 0.97, hopedFor: '0.99×' }],
    },
    {
      name: 'full',
      what: '50 MiB, 8 at once',
      unit: 'MB/s',
      figureOf: megabytesPerSecond(MEDIA_BYTES),
      operation: (can) => can.whole?.(),
      load: { connections: 8, ...timed },
      keeps: true,
      peers: [sendFile, nginx],
      targets: [{ against: sendFile, ratio: 2, hopedFor: '3×' }],
    },
    {
      name: 'slow',
      what: `${slow.connections} uploads of 1 MiB at once, each over ${(slow.parts * slow.everyMs) / 1000} s: peak memory`,
      unit: 'MiB',
      figureOf: ({ peakMiB }) => peakMiB,
      operation: (can) => can.inTwo?.(call, { pace: slow }),
      load: { connections: slow.connections, spreadMs: slow.everyMs },
      warmUp: { operation: (can) => can.inTwo?.(call), load: { connections: 16, seconds: timed.seconds } },
      runs: 3,
      peers: [tusExpress],
      targets: [{ against: tusExpress, ratio: 1, isLimit: true, hopedFor: '55 MiB' }],
    },
  ]
}

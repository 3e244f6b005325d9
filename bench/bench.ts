/**
 * How fast this server is beside others, and how its cost grows: `npm run bench`. README.md says how to read it.
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { cpus, freemem, release } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { MIB, wav } from './bodies.ts'
import { ofDatabases } from './databases.ts'
import { figure, median, table, withSpread } from './figures.ts'
import { withConnections, withRecordings } from './growth.ts'
import { measure, type Options, type Result } from './measure.ts'
import { ours } from './ours.ts'
import { pin } from './processes.ts'
import { tails } from './tails.ts'
import { allWork, MEDIA_BYTES, type Target, type Work } from './work.ts'

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string', multiple: true },
    runs: { type: 'string' },
    data: { type: 'string' },
    disk: { type: 'string', default: '/var/tmp' },
    json: { type: 'string' },
  },
})
const [command = 'peers'] = positionals
const COMMANDS = ['peers', 'growth', 'databases', 'tails']
if (!COMMANDS.includes(command)) throw new Error(`there is no ${command}; there are ${COMMANDS.join(', ')}`)
const DEFAULT_RUNS = 5
const say = (line = '') => process.stdout.write(`${line}\n`)

type Media = Options['media']

const made: string[] = []
/** Goes when the bench ends, however it ends. */
function makeDirectory(parent: string): string {
  mkdirSync(parent, { recursive: true })
  const directory = mkdtempSync(path.join(parent, 'call-recordings-bench-'))
  made.push(directory)
  return directory
}
process.once('exit', () => {
  for (const directory of made) rmSync(directory, { recursive: true, force: true })
})
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))

const GIB = 1024 * MIB
const MEMORY = '/dev/shm'

/** Memory, where there is enough of it: what runs between two sweeps has to fit, beside what must stay free. */
function dataDirectory(): string {
  if (options.data !== undefined) return options.data
  const { bavail, bsize } = existsSync(MEMORY) ? statfsSync(MEMORY) : { bavail: 0, bsize: 0 }
  if (bavail * bsize >= (options.quick ? 1 : 6) * GIB) return MEMORY
  say(`${MEMORY} has too little room: all files lie on a disk`)
  return options.disk
}

const TMPFS = 0x01021994
const kindOf = (directory: string) => (statfsSync(directory).type === TMPFS ? 'in memory' : 'on a disk')

/**
 * Touches memory that the host of a virtual machine may not have given it yet: the first touch takes several times as
 * long as the next, and would be charged to whoever runs first.
 */
function touchMemory(directory: string): void {
  const bytes = Math.min(4096 * MIB, freemem() / 4)
  const piece = Buffer.alloc(64 * MIB, 1)
  const file = path.join(directory, 'touched')
  for (let done = 0; done < bytes; done += piece.length) writeFileSync(file, piece, { flag: 'a' })
  rmSync(file)
}

const HEAD = ['work', 'unit', 'ours', 'peer', '', 'ratio', 'wanted', 'hoped for', 'CPU ms/op', 'peak MiB', 'others']

/** One row for each peer: ours beside it. */
function rowsOf(work: Work, [mine, ...peers]: readonly Result[]): string[][] {
  if (!mine) return []
  return peers.map((peer, i) => {
    const ratios = mine.figures.map((each, run) => each / (peer.figures[run] ?? Number.NaN))
    const target = work.targets?.find(({ against }) => against.name === peer.contestant)
    const both = (of: (result: Result) => number) => `${figure(of(mine))} / ${figure(of(peer))}`
    return [
      i === 0 ? work.name : '',
      i === 0 ? work.unit : '',
      i === 0 ? withSpread(mine.figures) : '',
      peer.contestant,
      withSpread(peer.figures),
      withSpread(ratios, '×'),
      target ? wanted(target, median(ratios)) : '',
      target?.hopedFor ?? '',
      both(({ runs }) => median(runs.map((run) => run.cpuMsPerOperation))),
      both(({ runs }) => Math.max(...runs.map((run) => run.peakMiB))),
      figure(Math.max(...[...mine.runs, ...peer.runs].map((run) => run.otherCores))),
    ]
  })
}

function wanted({ ratio, isLimit = false }: Target, reached: number): string {
  const holds = isLimit ? reached <= ratio : reached >= ratio
  return `${isLimit ? '≤' : '≥'} ${ratio}×${options.quick ? '' : holds ? ' ✓' : ' ✗'}`
}

async function besidePeers(media: Media): Promise<Record<string, Result[]>> {
  const { quick } = options
  const all = allWork(quick)
  const unknown = options.only?.find((name) => !all.some((work) => work.name === name))
  if (unknown) throw new Error(`there is no ${unknown}; there are ${all.map(({ name }) => name).join(', ')}`)
  const chosen = all.filter(({ name }) => options.only?.includes(name) ?? true)

  const results: Record<string, Result[]> = {}
  const rows: string[][] = []
  for (const work of chosen) {
    const parent = work.onDisk ? options.disk : dataDir
    say(`${work.name}: ${work.what} (files ${kindOf(parent)}, ${parent})`)
    const here = work.peers.filter((peer) => {
      const missing = peer.missing?.()
      if (missing) say(`  without ${peer.name}: ${missing}`)
      return missing === undefined
    })
    const runs = quick ? 1 : Number(options.runs ?? work.runs ?? DEFAULT_RUNS)
    const result = await measure(work, [ours, ...here], { dir: makeDirectory(parent), media, runs, quick })
    results[work.name] = result
    rows.push(...rowsOf(work, result))
  }
  say()
  say(table([HEAD, ...rows]))
  return results
}

async function growing(media: Media): Promise<Record<string, unknown>> {
  const { quick } = options
  const runs = quick ? 1 : Number(options.runs ?? 3)
  const connections = await withConnections({ dir: makeDirectory(dataDir), media, runs, quick }, say)
  say()
  return { connections, recordings: await withRecordings(makeDirectory(dataDir), quick, say) }
}

async function besideOthers(): Promise<unknown> {
  const { quick } = options
  return tails({ dir: makeDirectory(dataDir), runs: quick ? 1 : Number(options.runs ?? 3), quick }, say)
}

function sayMachine(): void {
  const [cpu] = cpus()
  const unpinned = pin()
  say(`${new Date().toISOString().slice(0, 16)}Z · ${cpu?.model}, ${cpus().length} cores · Linux ${release()}`)
  say(`Node ${process.version} · ${unpinned ? `NOT PINNED: ${unpinned}` : 'server on one core, load on another'}`)
  if (options.quick) say('A quick look: every answer is checked, no figure means anything.')
  say()
}

function makeMedia(): Media {
  const mediaDir = makeDirectory(dataDir)
  const media = { mediaDir, mediaName: 'call.wav', media: wav(MEDIA_BYTES) }
  writeFileSync(path.join(mediaDir, media.mediaName), media.media)
  if (!options.quick) touchMemory(mediaDir)
  return media
}

const startedMs = performance.now()
sayMachine()
const dataDir = dataDirectory()
const media = makeMedia()
const results: Record<string, unknown> = {}
if (command === 'peers') results.peers = await besidePeers(media)
const isLookAtAll = options.quick && command === 'peers' && !options.only
if (isLookAtAll) say()
if (command === 'growth' || isLookAtAll) results.growth = await growing(media)
if (command === 'tails' || isLookAtAll) results.tails = await besideOthers()
if (command === 'databases') await ofDatabases(makeDirectory(options.disk), options.quick, say)
if (options.json) writeFileSync(options.json, `${JSON.stringify(results, null, 2)}\n`)
say()
say(`${Math.round((performance.now() - startedMs) / 1000)} s in all`)

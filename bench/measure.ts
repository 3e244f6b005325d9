/**
 * One kind of work, measured: its servers are started side by side and run in turn, a slice of a run at a time, so that
 * the machine's moods fall on all alike.
 */
import { mkdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import type { Contestant, Site, Started } from './contestant.ts'
import { type Load, type Operation, type Run, type Slice, slice, together } from './load.ts'
import type { Work } from './work.ts'

export interface Result {
  contestant: string
  /** In the work's unit, one for each run. */
  figures: number[]
  runs: Run[]
}

interface Entry {
  contestant: Contestant
  started: Started
  operation: Operation
  runs: Run[]
}

export interface Options {
  /** Where each contestant gets a directory. */
  dir: string
  media: Pick<Site, 'media' | 'mediaDir' | 'mediaName'>
  runs: number
  /** No warm-up, and what every connection has left behind is looked into. */
  quick: boolean
}

/** @returns a result for each contestant that is here, ours first */
export async function measure(
  work: Work,
  contestants: readonly Contestant[],
  { dir, media, runs, quick }: Options,
): Promise<Result[]> {
  const entries: Entry[] = []
  const oneSlice = async ({ started }: Entry, operation: Operation, load: Load) => {
    const checks = quick ? load.connections : 1
    const result = await slice(started.running, operation, load, checks)
    if (!work.keeps) started.sweep()
    return result
  }
  /** A run of each. */
  const oneRound = async () => {
    const slices = new Map<Entry, Slice[]>(entries.map((entry) => [entry, []]))
    for (let i = 0; i < (work.load.slices ?? 1); i++) {
      for (const [entry, taken] of slices) taken.push(await oneSlice(entry, entry.operation, work.load))
    }
    for (const [entry, taken] of slices) entry.runs.push(together(taken))
  }
  try {
    for (const [i, contestant] of contestants.entries()) {
      const site = { dir: path.join(dir, String(i)), ...media }
      mkdirSync(site.dir, { recursive: true })
      const started = await contestant.start(site)
      entries.push({ contestant, started, operation: await operationOf(work, contestant, started), runs: [] })
    }
    if (!quick) {
      for (const entry of entries) {
        const { operation, load } = work.warmUp ?? work
        const warmUp = await operationOf({ name: work.name, operation }, entry.contestant, entry.started)
        for (let i = 0; i < (load.slices ?? 1); i++) await oneSlice(entry, warmUp, load)
      }
    }
    for (let i = 0; i < runs; i++) await oneRound()
  } finally {
    for (const { started } of entries) await started.running.stop()
    rmSync(dir, { recursive: true, force: true })
  }
  return entries.map(({ contestant, runs }) => ({
    contestant: contestant.name,
    figures: runs.map(work.figureOf),
    runs,
  }))
}

async function operationOf(
  { name, operation }: Pick<Work, 'name' | 'operation'>,
  contestant: Contestant,
  { can }: Started,
): Promise<Operation> {
  const found = await operation(can)
  if (!found) throw new Error(`${contestant.name} has no word for ${name}`)
  return found
}

/** Looking at what lies in a directory, while others change it: what is gone by then is no fault. */
import { lstat, opendir } from 'node:fs/promises'
import path from 'node:path'
import type { Entry } from '../entry.ts'

const STEP = 100

const isGone = (error: unknown) => ['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')

/** An entry of a directory. */
export interface Seen extends Entry {
  /** A link is none, whatever it leads to. */
  isFolder: boolean
}

async function seen(folder: string, name: string): Promise<Seen[]> {
  try {
    const stats = await lstat(path.join(folder, name))
    const changedAtMs = Math.max(stats.mtimeMs, stats.ctimeMs)
    return [{ name, bytes: stats.size, changedAtMs, isFolder: stats.isDirectory() }]
  } catch (error) {
    if (isGone(error)) return []
    throw error
  }
}

/** The names in a folder, some at a time; none where it is missing, or no folder. */
async function* namesIn(folder: string): AsyncGenerator<string[]> {
  let names: string[] = []
  try {
    for await (const entry of await opendir(folder)) {
      names.push(entry.name)
      if (names.length < STEP) continue
      yield names
      names = []
    }
  } catch (error) {
    if (!isGone(error)) throw error
  }
  if (names.length > 0) yield names
}

/** What lies in a folder under names that fit; nothing where it is missing, or no folder. */
export async function* entriesIn(folder: string, fits: (name: string) => boolean = () => true): AsyncGenerator<Seen> {
  for await (const names of namesIn(folder)) {
    yield* (await Promise.all(names.filter(fits).map((name) => seen(folder, name)))).flat()
  }
}

/** The bytes of all files in a folder, and in those inside it. */
export async function bytesIn(folder: string): Promise<number> {
  let sum = 0
  for await (const { name, bytes, isFolder } of entriesIn(folder)) {
    sum += isFolder ? await bytesIn(path.join(folder, name)) : bytes
  }
  return sum
}

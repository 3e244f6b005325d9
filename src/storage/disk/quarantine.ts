/**
 * Files that are taken out of the recordings directory and kept for a week, should somebody miss them: inside it, in a
 * folder for each day, under the names that they had.
 */
import { mkdir, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { syncDirectory } from './durability.ts'
import { isFolder, namesIn, seen } from './look.ts'

/** No key begins so. */
export const QUARANTINE = '.quarantine'

const KEPT_DAYS = 7
const DAY_MS = 86_400_000
const DAY = /^\d{4}-\d{2}-\d{2}$/

const dayOf = (atMs: number) => new Date(atMs).toISOString().slice(0, 10)

/** @returns where the file lies from now on, relative to the recordings directory as it was before */
export async function quarantine(directory: string, file: string, nowMs: number): Promise<string> {
  const to = path.join(QUARANTINE, dayOf(nowMs), file)
  const folder = path.dirname(path.join(directory, to))
  await mkdir(folder, { recursive: true, mode: 0o700 })
  await rename(path.join(directory, file), path.join(directory, to))
  for (const each of [folder, path.dirname(path.join(directory, file))]) await syncDirectory(each)
  return to
}

interface Overdue {
  /** Relative to the recordings directory. */
  folder: string
  bytes: number
}

/** The days whose week is over. */
export async function* overdue(directory: string, nowMs: number): AsyncGenerator<Overdue> {
  const keptSince = dayOf(nowMs - KEPT_DAYS * DAY_MS)
  for await (const names of namesIn(path.join(directory, QUARANTINE))) {
    for (const name of names.filter((each) => DAY.test(each) && each < keptSince)) {
      const folder = path.join(QUARANTINE, name)
      yield { folder, bytes: await bytesIn(path.join(directory, folder)) }
    }
  }
}

async function bytesIn(folder: string): Promise<number> {
  let bytes = 0
  for await (const names of namesIn(folder)) {
    for (const name of names) {
      const at = path.join(folder, name)
      bytes += (await isFolder(at)) ? await bytesIn(at) : ((await seen(at))?.bytes ?? 0)
    }
  }
  return bytes
}

/** Removes one of those folders for good. */
export async function empty(directory: string, folder: string): Promise<void> {
  await rm(path.join(directory, folder), { recursive: true, force: true })
}

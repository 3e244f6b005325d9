/**
 * What lies in the uploads directory: files of uploads, and folders and bodies beside them, all by an id; and probes. Other
 * names are an operator's or the file system's.
 */
import { rm } from 'node:fs/promises'
import path from 'node:path'
import type { StagedEntry } from '../staging.ts'
import { PROBE } from './durability.ts'
import { entriesIn } from './look.ts'

const OF_ID = /^([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:\.[^/]*)?$/

const idIn = (name: string): string | undefined => OF_ID.exec(name)?.[1]

const isOurs = (name: string) => idIn(name) !== undefined || (name.startsWith(PROBE) && !name.includes('/'))

/** A folder counts for no more than itself: those of open uploads hold many files, and are passed over each time. */
export async function* stagedEntries(directory: string): AsyncGenerator<StagedEntry> {
  for await (const { name, bytes, changedAtMs } of entriesIn(directory, isOurs)) {
    yield { name, bytes, changedAtMs, uploadId: idIn(name) }
  }
}

/** @throws for a name that is none of ours */
export async function removeStaged(directory: string, name: string): Promise<void> {
  if (!isOurs(name)) throw new Error(`${JSON.stringify(name)} is no entry of the uploads directory`)
  await rm(path.join(directory, name), { recursive: true, force: true })
}

/**
 * What lies in the recordings directory and is in no row: recordings that the tables have never heard of, and what is no
 * recording at all. The service touches neither by itself.
 *
 * An operator may have the unknown recordings moved into a quarantine folder, by the day; the sweep empties it after a week.
 */
import path from 'node:path'
import { setImmediate as breathe } from 'node:timers/promises'
import type { Clock } from '../clock.ts'
import type { Reading } from '../db/database.ts'
import { recordedPaths } from '../db/recordings.ts'
import { keysOfUploads } from '../db/uploads-swept.ts'
import { INCOMING } from '../storage/disk/disk-library.ts'
import { PROBE } from '../storage/disk/durability.ts'
import { isFolder, namesIn, seen } from '../storage/disk/look.ts'
import { QUARANTINE } from '../storage/disk/quarantine.ts'

/** Younger files may be on their way to or from their row. */
export const SAFE_AGE_MS = 3_600_000

/** A file without a row, or what the service never made; relative to the recordings directory. */
export type Stranger =
  | { act: 'report'; what: 'unknown'; file: string; bytes: number }
  | { act: 'report'; what: 'stray'; file: string }
  /** Without a row as well, but too young to be judged. */
  | { act: 'report'; what: 'young'; file: string }

interface Parts {
  db: Reading
  recordingsDir: string
  clock: Clock
}

const LEAD = /^[A-Za-z0-9_-]{1,64}$/
/** `LEAD/CALLLOG_20261122T071530Z_1f0c5d7a9b2e.ext`: no other name in the recordings directory is ours. */
const KEY = /^[A-Za-z0-9_-]{1,64}\/[A-Za-z0-9_-]{1,64}_\d{8}T\d{6}Z_[0-9a-f]{12}\.[a-z0-9]{1,8}$/

const isOurs = (name: string) => name === INCOMING || name === QUARANTINE || name.startsWith(PROBE)

/** Found by a walk through the whole directory. For an operator to judge: unknown ones are there if the database is older than the disk. */
export async function* strangers(parts: Parts): AsyncGenerator<Stranger> {
  const directory = parts.recordingsDir
  for await (const names of namesIn(directory)) {
    for (const name of names.filter((each) => !isOurs(each))) {
      const isLead = LEAD.test(name) && (await isFolder(path.join(directory, name)))
      if (!isLead || !(yield* inFolder(parts, name))) yield { act: 'report', what: 'stray', file: name }
    }
  }
}

/** @returns whether it could be read */
async function* inFolder(parts: Parts, folder: string): AsyncGenerator<Stranger, boolean> {
  try {
    yield* strangersIn(parts, folder)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EACCES') throw error
    return false
  }
}

async function* strangersIn({ db, recordingsDir, clock }: Parts, folder: string): AsyncGenerator<Stranger> {
  for await (const names of namesIn(path.join(recordingsDir, folder))) {
    const all = names.map((name) => `${folder}/${name}`)
    for (const file of all.filter((each) => !KEY.test(each))) yield { act: 'report', what: 'stray', file }
    const files = all.filter((each) => KEY.test(each))
    const known = new Set([...(await recordedPaths(db, files)), ...(await keysOfUploads(db, files))])
    for (const file of files.filter((each) => !known.has(each))) {
      const it = await seen(path.join(recordingsDir, file))
      if (!it) continue
      const isYoung = it.changedAtMs > clock.now() - SAFE_AGE_MS
      yield isYoung ? { act: 'report', what: 'young', file } : { act: 'report', what: 'unknown', file, bytes: it.bytes }
    }
    await breathe()
  }
}

/**
 * Making names durable: a file that was created, renamed or removed stays so only once its directory is synced.
 *
 * A call that comes while a sync of the same directory runs shares the next one: many uploads pay for few syncs.
 */
import { closeSync, fsync as fsyncCallback, openSync } from 'node:fs'
import { rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { timed } from '../../timing.ts'

const fsync = promisify(fsyncCallback)

const waiting = new Map<string, { running: Promise<void>; next: Promise<void> | undefined }>()

async function syncOnce(directory: string): Promise<void> {
  // Opening a directory that was just used, and closing it, touch no disk: cheaper done than sent to another thread.
  const fd = openSync(directory, 'r')
  try {
    await timed('sync', () => fsync(fd))
  } finally {
    closeSync(fd)
  }
}

/** Resolves when every change made in this directory before the call is on disk. */
export function syncDirectory(directory: string): Promise<void> {
  const start = () => {
    const entry = { running: syncOnce(directory), next: undefined }
    waiting.set(directory, entry)
    entry.running
      .catch(() => {})
      .finally(() => waiting.get(directory) === entry && !entry.next && waiting.delete(directory))
    return entry.running
  }
  const entry = waiting.get(directory)
  if (!entry) return start()
  // The running sync may have begun before the caller's change: only the next one surely covers it.
  entry.next ??= entry.running.catch(() => {}).then(start)
  return entry.next
}

/** Begins the name of a file that is there for a moment only. */
export const PROBE = '.probe-'

/** Rejects when the directory does not take a write just now. */
export async function probeDirectory(directory: string): Promise<void> {
  const file = path.join(directory, PROBE + process.pid)
  await writeFile(file, 'ok')
  // Another probe may have removed it.
  await rm(file, { force: true })
}

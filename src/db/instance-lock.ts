/**
 * One server for a data directory: uploads are locked and their rows kept in memory, so that a second one would write
 * into the first one's files.
 *
 * The lock is SQLite's exclusive lock on a file of its own, which the kernel gives back however its holder ends.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { opened } from './sqlite-file.ts'

const RETRY_EVERY_MS = 50

const TAKEN = 'another server uses this data directory'
/** Whether an error says that another server has the lock. */
export const isTaken = (error: unknown): boolean => error instanceof Error && error.message.startsWith(TAKEN)

/**
 * Takes the lock.
 *
 * @param waitMs how long to wait for a holder that may be ending
 * @returns what gives it back
 * @throws when it is still held then
 */
export async function lockInstance(file: string, waitMs: number): Promise<() => void> {
  const deadlineMs = performance.now() + waitMs
  const sqlite = opened(file, { timeout: 0 })
  for (;;) {
    try {
      sqlite.exec('BEGIN EXCLUSIVE')
      return () => sqlite.close()
    } catch (error) {
      const held = (error as { code?: string }).code === 'SQLITE_BUSY'
      if (!held || performance.now() >= deadlineMs) {
        sqlite.close()
        throw held ? new Error(`${TAKEN} (${file} is locked)`) : error
      }
    }
    await sleep(RETRY_EVERY_MS)
  }
}

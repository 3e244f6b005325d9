/** The room that a directory's file system has left for this user. */
import { stat, statfs } from 'node:fs/promises'
import type { Room } from '../bytes.ts'

export async function roomIn(directory: string): Promise<Room> {
  const [{ bavail, bsize }, { dev }] = await Promise.all([statfs(directory), stat(directory)])
  return { freeBytes: bavail * bsize, volume: `disk ${dev}` }
}

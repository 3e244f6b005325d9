/**
 * The thread that looks into media files, one at a time, for `inspect.ts`; the file it is started with.
 *
 * It may be ended at any moment, holds nothing worth keeping, and writes nothing. Reading is synchronous:
 * nothing else runs in this thread.
 */
import { closeSync, openSync, readSync } from 'node:fs'
import { setPriority } from 'node:os'
import { parentPort } from 'node:worker_threads'
import type { Report, Task } from './inspect.ts'
import { inspectMedia } from './media-type.ts'

/** Of this thread alone, on Linux: where processors are short, answering requests goes first. */
const NICENESS = 10

async function lookInto({ path, size, filename }: Task): Promise<Report> {
  let fd: number | undefined
  try {
    fd = openSync(path, 'r')
    const file = fd
    const read = async (position: number, length: number) => {
      const buffer = Buffer.allocUnsafe(length)
      return buffer.subarray(0, readSync(file, buffer, 0, length, position))
    }
    return { found: await inspectMedia(read, size, filename) }
  } catch (error) {
    const { message, code } = error as NodeJS.ErrnoException
    return { readFault: { message, ...(code !== undefined && { code }) } }
  } finally {
    if (fd !== undefined) closeSync(fd)
  }
}

const say = (report: Report) => parentPort?.postMessage(report)

parentPort?.on('message', (task: Task) => {
  void lookInto(task).then(say)
})
try {
  setPriority(NICENESS)
} catch {
  // A container may forbid it; the work is the same.
}
say({ ready: true })

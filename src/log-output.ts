/**
 * Where the log's lines go. The service never waits for them: lines that are not taken (a full disk, a pipe without a
 * reader) wait up to a bound; beyond it they are dropped and counted, and the count is a line in their place.
 */
import { write, writeSync } from 'node:fs'

/** About 3,000 lines. */
const MAX_WAITING_CHARACTERS = 1024 * 1024
/** A pipe is full until its reader comes, which may be soon. */
const PIPE_AGAIN_AFTER_MS = 50
const AGAIN_AFTER_MS = 1_000

export interface LogOutput {
  write(line: string): void
  /** Lines that were not written, and won't be. */
  readonly dropped: number
  /** Resolves when all lines are written, or at the latest after so long. */
  settled(withinMs: number): Promise<void>
}

const NOTHING = Buffer.alloc(0)

/** What is said in place of dropped lines, in the form of the log's own. */
const droppedLine = (lines: number) =>
  `${JSON.stringify({
    level: 'warn',
    time: new Date().toISOString(),
    event: 'logLinesDropped',
    lines,
    msg: 'lines of the log were dropped: they could not be written',
  })}\n`

/** @param fd a file, or a pipe or socket that does not block: a thread that hangs in a write keeps the process from ending */
export function createLogOutput(fd: number): LogOutput {
  let waiting: string[] = []
  let waitingCharacters = 0
  /** What is being written, or was not taken yet. */
  let batch: Buffer = NOTHING
  let state: 'idle' | 'writing' | 'paused' = 'idle'
  let pause: NodeJS.Timeout | undefined
  let untold = 0
  let dropped = 0
  let whenIdle: (() => void)[] = []
  let isUsed = false

  function take(line: string) {
    waiting.push(line)
    waitingCharacters += line.length
  }

  function next() {
    if (batch.length === 0) {
      if (untold > 0) {
        take(droppedLine(untold))
        untold = 0
      }
      batch = Buffer.from(waiting.join(''))
      waiting = []
      waitingCharacters = 0
    }
    if (batch.length === 0) {
      state = 'idle'
      for (const wake of whenIdle.splice(0)) wake()
      return
    }
    state = 'writing'
    write(fd, batch, 0, batch.length, null, (error, written) => {
      if (error) {
        state = 'paused'
        pause = setTimeout(next, error.code === 'EAGAIN' ? PIPE_AGAIN_AFTER_MS : AGAIN_AFTER_MS).unref()
        return
      }
      batch = batch.subarray(written)
      next()
    })
  }

  /** What is left when the process ends by itself, or by a fault: one attempt, which can't take long. */
  function writeAtExit() {
    let left = Buffer.concat([state === 'writing' ? NOTHING : batch, Buffer.from(waiting.join(''))])
    try {
      while (left.length > 0) left = left.subarray(writeSync(fd, left))
    } catch {
      // It can't be written any more.
    }
  }

  return {
    get dropped() {
      return dropped
    },
    write(line) {
      if (!isUsed) process.once('exit', writeAtExit)
      isUsed = true
      if (waitingCharacters + batch.length + line.length > MAX_WAITING_CHARACTERS) {
        untold += 1
        dropped += 1
        return
      }
      take(line)
      if (state === 'idle') next()
    },
    async settled(withinMs) {
      if (state === 'paused') {
        clearTimeout(pause)
        next()
      }
      if (state === 'idle') return
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, withinMs)
        whenIdle.push(() => {
          clearTimeout(timer)
          resolve()
        })
      })
      whenIdle = []
    },
  }
}

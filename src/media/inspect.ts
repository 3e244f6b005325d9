/**
 * Looking into files from strangers without making other requests wait: in a few threads, each file against a deadline.
 *
 * Parsers of media are other people's code over bytes that a client chose; some inputs keep one busy for minutes, or fill
 * its memory. Here that costs its own file the duration and other files nothing: the thread is ended, and what the
 * first bytes show is the answer. A thread opens the file by its path. Knows threads; what the bytes mean is `media-type.ts`.
 */
import { Worker } from 'node:worker_threads'
import { HEAD_BYTES, type Inspection, inspectHead, inspectPlainWav } from './media-type.ts'

/** A file that is written no more. */
export interface MediaFile {
  /** A file of this machine with its bytes, absolute. */
  file(): Promise<string>
  /** Reads it from this thread; the beginning may come from memory. */
  read(position: number, length: number): Promise<Uint8Array>
}

/** Why a file was not looked into to its end. */
export interface GivenUp {
  /** `crash`: the thread failed or would not start; `memory`: it needed more than it may have. */
  reason: 'deadline' | 'memory' | 'crash' | 'closing'
  cause?: unknown
}

export type Inspected = Inspection & { givenUp?: GivenUp }

/** What a thread is asked. */
export interface Task {
  path: string
  size: number
  filename: string
}

/** What a thread says: once that it is ready, then one answer for each task. */
export type Report = { ready: true } | { found: Inspection } | { readFault: { message: string; code?: string } }

export interface InspectorOptions {
  /** Counted from the asking: waiting for a thread is part of it. */
  deadlineMs: number
  /** The thread's code; tests give others. */
  script?: URL
}

const MAX_THREADS = 2
/**
 * The heap of one thread. A single allocation near this size would end the whole process instead of the thread: the code
 * that it runs makes none.
 */
const MEMORY = { maxOldGenerationSizeMb: 128, maxYoungGenerationSizeMb: 16 }
/** Usual files take a thread milliseconds: a second one is rarely needed, and each takes its memory. */
const PATIENCE_MS = 50
/** Threads without work end after this, and give their memory back. */
const IDLE_MS = 30_000
/** Where others wait, a file has this part of its deadline: few hostile files cost the honest ones behind them little. */
const SHARE = 0.25

/** Not part of the bundle's one piece, but a file of its own beside it. */
const WORKER = new URL(import.meta.url.endsWith('.ts') ? './inspect-worker.ts' : './inspect-worker.js', import.meta.url)

interface Job {
  task: Task
  head: Uint8Array
  thread?: Thread
  deadline: NodeJS.Timeout
  answered: boolean
  resolve(inspected: Inspected): void
  reject(error: Error): void
}

interface Thread {
  worker: Worker
  state: 'starting' | 'idle' | 'busy' | 'ending'
  job?: Job | undefined
  shareUsed: boolean
  share?: NodeJS.Timeout | undefined
}

export class Inspector {
  readonly #deadlineMs: number
  readonly #script: URL
  /** All that have not exited: one that takes its time to end keeps its place, so that there are never more. */
  readonly #threads = new Set<Thread>()
  readonly #waiting = new Set<Job>()
  #idleTimer: NodeJS.Timeout | undefined
  #reinforcing: NodeJS.Timeout | undefined
  #closed = false

  constructor({ deadlineMs, script = WORKER }: InspectorOptions) {
    this.#deadlineMs = deadlineMs
    this.#script = script
  }

  /**
   * Type and duration of a file of `size` bytes, or as much of it as could be found out in time.
   *
   * @throws what reading the file throws
   */
  async inspect(file: MediaFile, size: number, filename: string): Promise<Inspected> {
    const head = await file.read(0, Math.min(HEAD_BYTES, size))
    // Most recorders' WAVE: a few comparisons, no loop, and a tenth of what a trip to a thread costs.
    const plain = inspectPlainWav(head, size)
    if (plain) return plain
    const path = await file.file()
    return new Promise((resolve, reject) => {
      // When this thread was busy, an answer may be there that was not read yet: it comes first.
      const overdue = () => setImmediate(() => this.#giveUp(job, { reason: 'deadline' }))
      const deadline = setTimeout(overdue, this.#deadlineMs)
      const job: Job = { task: { path, size, filename }, head, deadline, answered: false, resolve, reject }
      this.#waiting.add(job)
      if (this.#closed) this.#giveUp(job, { reason: 'closing' })
      else this.#dispatch()
    })
  }

  /** Threads that run or end just now. */
  get threads(): number {
    return this.#threads.size
  }

  /** Ends the threads; what they are at, and what is asked from now on, is answered by its first bytes. */
  async close(): Promise<void> {
    this.#closed = true
    clearTimeout(this.#idleTimer)
    clearTimeout(this.#reinforcing)
    const busyWith = [...this.#threads].flatMap(({ job }) => job ?? [])
    for (const job of [...this.#waiting, ...busyWith]) this.#giveUp(job, { reason: 'closing' })
    await Promise.all([...this.#threads].map((thread) => this.#end(thread)))
  }

  #dispatch(): void {
    for (const thread of this.#threads) {
      if (thread.state === 'idle') this.#run(thread)
    }
    if (this.#waiting.size === 0) return
    if (this.#threads.size === 0) this.#start()
    else this.#reinforceSoon()
    this.#endOverdue()
  }

  /** What waits on one thread for more than a moment gets another. */
  #reinforceSoon(): void {
    this.#reinforcing ??= setTimeout(() => {
      this.#reinforcing = undefined
      const isStarting = [...this.#threads].some(({ state }) => state === 'starting')
      if (this.#waiting.size === 0 || this.#threads.size === MAX_THREADS) return
      if (isStarting) this.#reinforceSoon()
      else this.#start()
    }, PATIENCE_MS).unref()
  }

  #run(thread: Thread): void {
    const [job] = this.#waiting
    if (!job) return
    this.#waiting.delete(job)
    clearTimeout(this.#idleTimer)
    thread.state = 'busy'
    thread.job = job
    job.thread = thread
    thread.shareUsed = false
    thread.share = setTimeout(() => {
      thread.shareUsed = true
      if (this.#waiting.size > 0) this.#endOverdue()
    }, this.#deadlineMs * SHARE)
    thread.worker.postMessage(job.task)
  }

  /** Others wait: what has had its share makes way. */
  #endOverdue(): void {
    for (const { job, shareUsed } of this.#threads) if (job && shareUsed) this.#giveUp(job, { reason: 'deadline' })
  }

  #start(): void {
    let worker: Worker
    try {
      // None of the flags that this process was started with, nor its settings: some are secrets.
      worker = new Worker(this.#script, { resourceLimits: MEMORY, execArgv: [], env: {} })
    } catch (cause) {
      this.#failed(undefined, cause)
      return
    }
    const thread: Thread = { worker, state: 'starting', shareUsed: false }
    this.#threads.add(thread)
    worker.unref()
    worker.on('message', (report: Report) => this.#heard(thread, report))
    worker.on('messageerror', (cause) => this.#failed(thread, cause))
    worker.on('error', (cause) => this.#failed(thread, cause))
    worker.on('exit', (code) => {
      this.#threads.delete(thread)
      if (thread.state !== 'ending') this.#failed(thread, new Error(`the thread ended with ${code}`))
      else this.#dispatch()
    })
  }

  #heard(thread: Thread, report: Report): void {
    if (thread.state === 'ending') return
    const { job } = thread
    thread.job = undefined
    thread.state = 'idle'
    clearTimeout(thread.share)
    if (job && 'found' in report) this.#settle(job).resolve(report.found)
    if (job && 'readFault' in report) {
      const { message, code } = report.readFault
      this.#settle(job).reject(Object.assign(new Error(message), { code }))
    }
    this.#dispatch()
    this.#endWhenIdle()
  }

  /** A thread is of no use any more: its file is answered, or where it had none, the one that waits longest. */
  #failed(thread: Thread | undefined, cause: unknown): void {
    const [longest] = this.#waiting
    const job = thread === undefined || thread.state === 'starting' ? longest : thread.job
    if (thread) void this.#end(thread)
    const isMemory = (cause as NodeJS.ErrnoException | undefined)?.code === 'ERR_WORKER_OUT_OF_MEMORY'
    if (job) this.#giveUp(job, { reason: isMemory ? 'memory' : 'crash', cause })
    this.#dispatch()
  }

  #giveUp(job: Job, givenUp: GivenUp): void {
    if (job.answered) return
    if (job.thread) void this.#end(job.thread)
    this.#settle(job).resolve({ ...inspectHead(job.head, job.task.filename), givenUp })
  }

  #settle(job: Job): Job {
    clearTimeout(job.deadline)
    this.#waiting.delete(job)
    job.answered = true
    return job
  }

  async #end(thread: Thread): Promise<void> {
    thread.state = 'ending'
    thread.job = undefined
    clearTimeout(thread.share)
    await thread.worker.terminate()
  }

  #endWhenIdle(): void {
    if ([...this.#threads].some(({ state }) => state !== 'idle')) return
    clearTimeout(this.#idleTimer)
    this.#idleTimer = setTimeout(() => {
      for (const thread of this.#threads) if (thread.state === 'idle') void this.#end(thread)
    }, IDLE_MS).unref()
  }
}

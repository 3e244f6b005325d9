/**
 * A file that grows by whole chunks, kept open between one chunk and the next.
 *
 * Each write is on disk when it returns (`O_DSYNC`): the same guarantee as a write and an `fdatasync`, in one trip to
 * the thread pool instead of four with opening and closing. Used by one writer at a time.
 */
import { closeSync, constants, open as fsOpen } from 'node:fs'
import { promisify } from 'node:util'

const openFd = promisify(fsOpen)

/** Beyond this many, the one that was idle longest is closed. */
const MAX_IDLE = 256
/** Without a write for this long, a file is closed. */
const IDLE_MS = 5_000

export class GrowingFile {
  readonly #file: string
  readonly #idle: IdleFiles
  #fd: number | undefined

  constructor(file: string, idle: IdleFiles) {
    this.#file = file
    this.#idle = idle
  }

  /**
   * Runs `work` on the open file.
   *
   * @param fresh makes the file, or empties it
   * @throws what `work` throws, and errors of opening; the file is closed then
   */
  async use<T>(fresh: boolean, work: (fd: number) => Promise<T>): Promise<T> {
    if (fresh) this.close()
    const known = this.#fd
    // Idle files are closed by others; this one is none now.
    this.#fd = undefined
    this.#idle.delete(this)
    const fd = known ?? (await this.#open(fresh))
    try {
      const result = await work(fd)
      this.#fd = fd
      this.#idle.add(this)
      return result
    } catch (error) {
      closeSync(fd)
      throw error
    }
  }

  /** The file is moved, replaced or removed, or was idle for long: the next use opens it again. */
  close(): void {
    this.#idle.delete(this)
    if (this.#fd === undefined) return
    closeSync(this.#fd) // synced with each write: nothing is left to do that could block
    this.#fd = undefined
  }

  #open(fresh: boolean): Promise<number> {
    const flags = constants.O_RDWR | constants.O_DSYNC | (fresh ? constants.O_CREAT | constants.O_TRUNC : 0)
    return openFd(this.#file, flags, 0o600)
  }
}

/** Those that are open and wait for their next chunk: few, and not for long. */
export class IdleFiles {
  /** Since when, in that order. */
  readonly #sinceMs = new Map<GrowingFile, number>()
  #timer: NodeJS.Timeout | undefined

  add(file: GrowingFile): void {
    this.#sinceMs.set(file, performance.now())
    if (this.#sinceMs.size > MAX_IDLE) {
      for (const longest of this.#sinceMs.keys()) {
        longest.close()
        break
      }
    }
    this.#timer ??= setTimeout(() => this.#sweep(), IDLE_MS).unref()
  }

  delete(file: GrowingFile): void {
    this.#sinceMs.delete(file)
  }

  #sweep(): void {
    this.#timer = undefined
    const now = performance.now()
    for (const [file, sinceMs] of this.#sinceMs) if (now - sinceMs >= IDLE_MS) file.close()
    if (this.#sinceMs.size > 0) this.#timer = setTimeout(() => this.#sweep(), IDLE_MS).unref()
  }
}

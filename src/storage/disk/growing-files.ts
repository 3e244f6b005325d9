/**
 * Files that grow by whole chunks, kept open between one chunk and the next.
 *
 * Each write is on disk when it returns (`O_DSYNC`): the same guarantee as a write and an `fdatasync`, in one trip to
 * the thread pool instead of four with opening and closing. Used by one writer for each file at a time.
 */
import { closeSync, constants, open as fsOpen } from 'node:fs'
import { promisify } from 'node:util'

const openFd = promisify(fsOpen)

/** Beyond this many, the one that was idle longest goes. */
const MAX_IDLE = 256
/** Without a write for this long, a file is closed. */
const IDLE_MS = 5_000

interface Kept {
  fd: number
  idleSinceMs: number
}

export class GrowingFiles {
  readonly #kept = new Map<string, Kept>()
  #timer: NodeJS.Timeout | undefined

  /**
   * Runs `work` on the open file.
   *
   * @param fresh makes the file, or empties it
   * @throws what `work` throws, and errors of opening; the file is closed then
   */
  async use<T>(file: string, fresh: boolean, work: (fd: number) => Promise<T>): Promise<T> {
    if (fresh) this.forget(file)
    const known = this.#kept.get(file)
    // While it is used it is not in the map, so that no other call closes or uses it.
    this.#kept.delete(file)
    const fd = known?.fd ?? (await this.#open(file, fresh))
    try {
      const result = await work(fd)
      this.#keep(file, fd)
      return result
    } catch (error) {
      closeSync(fd)
      throw error
    }
  }

  /** The file is moved, replaced or removed: it is closed, and the next use opens it again. */
  forget(file: string): void {
    const kept = this.#kept.get(file)
    if (!kept) return
    this.#kept.delete(file)
    closeSync(kept.fd) // synced with each write: nothing is left to do that could block
  }

  #open(file: string, fresh: boolean): Promise<number> {
    const flags = constants.O_RDWR | constants.O_DSYNC | (fresh ? constants.O_CREAT | constants.O_TRUNC : 0)
    return openFd(file, flags, 0o600)
  }

  #keep(file: string, fd: number): void {
    this.forget(file)
    this.#kept.set(file, { fd, idleSinceMs: performance.now() })
    if (this.#kept.size > MAX_IDLE) {
      for (const longest of this.#kept.keys()) {
        this.forget(longest)
        break
      }
    }
    this.#timer ??= setTimeout(() => this.#sweep(), IDLE_MS).unref()
  }

  #sweep(): void {
    this.#timer = undefined
    const now = performance.now()
    for (const [file, { idleSinceMs }] of this.#kept) if (now - idleSinceMs >= IDLE_MS) this.forget(file)
    if (this.#kept.size > 0) this.#timer = setTimeout(() => this.#sweep(), IDLE_MS).unref()
  }
}

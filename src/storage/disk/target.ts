/** The file of one append: opened with its first write, synced, and its name too where it is new. */
import { closeSync, constants, fdatasync as fsDatasync, openSync } from 'node:fs'
import { promisify } from 'node:util'
import { timed } from '../../timing.ts'
import { syncDirectory } from './durability.ts'

const datasync = promisify(fsDatasync)

export class Target {
  /** Undefined before the first write. */
  fd: number | undefined
  /** Whether its name is on disk. */
  isNamed: boolean
  #isSynced = false
  readonly #path: string
  readonly #directory: string
  readonly #fresh: boolean

  constructor(path: string, directory: string, fresh: boolean) {
    this.#path = path
    this.#directory = directory
    this.#fresh = fresh
    this.isNamed = !fresh
  }

  /** @param synced each write is on disk when it returns */
  open(synced: boolean): number {
    // Only a file that begins is made: a hole where acknowledged bytes were would be a recording of silence.
    const made = this.#fresh ? constants.O_CREAT | constants.O_TRUNC : 0
    if (this.fd === undefined) {
      this.fd = openSync(this.#path, constants.O_RDWR | made | (synced ? constants.O_DSYNC : 0), 0o600)
      this.#isSynced = synced
    }
    return this.fd
  }

  async sync(): Promise<void> {
    const { fd } = this
    if (fd !== undefined && !this.#isSynced) await timed('sync', () => datasync(fd))
  }

  async syncName(): Promise<void> {
    await syncDirectory(this.#directory)
    this.isNamed = true
  }

  close(): void {
    if (this.fd !== undefined) closeSync(this.fd) // synced before: nothing is left to do that could block
  }
}

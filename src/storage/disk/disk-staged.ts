/**
 * One upload's file, and what memory has of it: the running SHA-256 and the first bytes, valid only if they end where the
 * upload's offset does, and the file itself while chunks come.
 *
 * An offset is told only after `fdatasync`, what a dead or displaced connection left is kept, an error keeps its errno,
 * and the SHA-256 is there when the last byte is.
 */
import { createHash } from 'node:crypto'
import { constants, fstat as fsStat, ftruncate as fsTruncate } from 'node:fs'
import { open, rename, rm, stat } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { promisify } from 'node:util'
import type { BytesReader } from '../bytes.ts'
import { sha256Of } from '../digest.ts'
import type { Beside, Segment, Staged, WriteOptions, Written } from '../staging.ts'
import { besideOnDisk } from './beside.ts'
import { copyInto, writeFd } from './copy.ts'
import type { DiskLibrary } from './disk-library.ts'
import { syncDirectory } from './durability.ts'
import { fileReader } from './file-reader.ts'
import { GrowingFile, type IdleFiles } from './growing-file.ts'
import { Target } from './target.ts'
import { HEAD_BYTES, type Progress } from './writer.ts'
import type { Writers } from './writers.ts'

const truncateFd = promisify(fsTruncate)
const statFd = promisify(fsStat)

/** What all handles of a staging share. */
export interface Home {
  directory: string
  library: Pick<DiskLibrary, 'put'>
  writers: Writers
  idle: IdleFiles
}

const NONE: readonly Segment[] = []

export class DiskStaged implements Staged {
  readonly id: string
  /** The one file says all. */
  readonly pending = NONE
  readonly #home: Home
  readonly #path: string
  #progress: Progress | undefined
  #growing: GrowingFile | undefined
  #beside: Beside | undefined

  constructor(home: Home, id: string, path: string) {
    this.id = id
    this.#home = home
    this.#path = path
  }

  recorded(): void {}

  get beside(): Beside {
    this.#beside ??= besideOnDisk({
      directory: this.#home.directory,
      file: this.#path,
      folder: this.#folder,
      forget: () => this.forget(),
    })
    return this.#beside
  }

  /** For what waits beside the file; no upload's name, since ids have no dot. */
  get #folder(): string {
    return `${this.#path}.beside`
  }

  async append(source: Readable, offset: number, options: WriteOptions = {}): Promise<Written> {
    const fresh = offset === 0
    const target = new Target(this.#path, this.#home.directory, fresh)
    try {
      const progress = await this.#progressAt(offset, () => target.open(false))
      this.#progress = progress
      const before = options.check && { ...progress, hash: progress.hash?.copy() }
      const written = await this.#home.writers.run(source, offset, progress, {
        ...options,
        open: (isLast) => target.open(isLast),
        onFirstCheckpoint: () => target.syncName(),
      })
      if (target.fd === undefined && written.error) throw written.error
      if (before && (written.end !== 'all' || written.error || !options.check?.holds())) {
        if (target.fd !== undefined) await truncateFd(target.fd, offset)
        this.#progress = before
        return { offset, end: written.end === 'all' ? 'mismatch' : written.end, error: written.error }
      }
      if (written.offset > offset) await target.sync()
      const whole = options.movesOn ? written.end === 'all' : written.offset === options.length
      if (written.error !== undefined && written.offset === 0) await this.#unmake()
      else if (fresh && !whole) await target.syncName()
      return written
    } catch (error) {
      this.#progress = undefined
      if (!target.isNamed) await this.#unmake()
      throw error
    } finally {
      target.close()
    }
  }

  async write(bytes: Buffer, offset: number): Promise<void> {
    this.#growing ??= new GrowingFile(this.#path, this.#home.idle)
    try {
      await this.#growing.use(offset === 0, async (fd) => {
        const progress = await this.#progressAt(offset, () => fd)
        this.#progress = progress
        const written = writeFd(fd, bytes, offset)
        if (offset === 0) progress.head = Buffer.from(bytes.subarray(0, HEAD_BYTES))
        progress.hash?.update(bytes)
        progress.hashedTo += bytes.length
        await written
      })
      if (offset === 0) await syncDirectory(this.#home.directory)
    } catch (error) {
      this.forget()
      if (offset === 0) await this.#unmake()
      throw error
    }
  }

  /**
   * What memory has of the bytes up to the offset. Where that ends elsewhere, another process wrote here before, or a
   * write failed: what lies beyond the offset was never acknowledged, and is cut off.
   */
  async #progressAt(offset: number, fd: () => number): Promise<Progress> {
    if (this.#progress?.hashedTo === offset) return this.#progress
    if (offset > 0) await cutBack(fd(), offset)
    return { hash: offset === 0 ? createHash('sha256') : undefined, hashedTo: offset, head: undefined }
  }

  /** A file of which nothing counts is made anew by the next try, so that its name is synced again. */
  async #unmake(): Promise<void> {
    await rm(this.#path, { force: true }).catch(() => {})
  }

  async sha256(size: number): Promise<string> {
    const progress = this.#progress
    if (progress?.hash && progress.hashedTo === size) return progress.hash.copy().digest('hex')
    const reader = this.reader()
    try {
      return await sha256Of(reader.read, size)
    } finally {
      await reader.close()
    }
  }

  reader(): BytesReader {
    return fileReader(this.#path, this.#progress?.head)
  }

  async truncate(size: number): Promise<void> {
    this.#progress = undefined
    const handle = await open(this.#path, constants.O_RDWR | constants.O_CREAT, 0o600)
    try {
      await handle.truncate(size)
      await handle.sync()
    } finally {
      await handle.close()
    }
  }

  async takeFrom(other: DiskStaged): Promise<void> {
    await rename(other.#path, this.#path)
    await syncDirectory(this.#home.directory)
    this.#progress = other.#progress
    other.forget()
  }

  async copyFrom(other: DiskStaged, size: number, position: number): Promise<void> {
    const progress = this.#progress
    this.#progress = undefined
    const hash = progress?.hashedTo === position ? progress.hash : undefined
    await copyInto(this.#path, position, other.#path, size, hash)
    if (progress && hash) this.#progress = { ...progress, hashedTo: position + size }
  }

  async size(): Promise<number | undefined> {
    try {
      return (await stat(this.#path)).size
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw error
    }
  }

  sizeAtHand(): number | undefined {
    const passed = this.#progress?.hashedTo ?? -1
    return passed < 0 ? undefined : passed
  }

  async sync(): Promise<void> {
    const handle = await open(this.#path, 'r')
    try {
      await handle.datasync()
    } finally {
      await handle.close()
    }
    await syncDirectory(this.#home.directory)
  }

  async moveTo(key: string): Promise<void> {
    // What goes on from here finds the bytes in the library, and nothing of them in memory.
    this.forget()
    await this.#home.library.put(this.#path, key)
  }

  async discard(): Promise<void> {
    this.forget()
    await rm(this.#path, { force: true })
    await rm(this.#folder, { force: true, recursive: true })
  }

  forget(): void {
    this.#progress = undefined
    this.#growing?.close()
  }
}

/** Cuts a file to what was acknowledged of it. @throws ENOENT when not all of that is there */
async function cutBack(fd: number, offset: number): Promise<void> {
  const { size } = await statFd(fd)
  if (size < offset) throw Object.assign(new Error(`only ${size} of ${offset} bytes are there`), { code: 'ENOENT' })
  if (size > offset) await truncateFd(fd, offset)
}

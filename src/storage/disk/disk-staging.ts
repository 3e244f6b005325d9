/**
 * The staging on a disk: one file per upload in the uploads directory, and nothing beside it that says what it is of.
 *
 * An offset is told only after `fdatasync`, what a dead or displaced connection left is kept, an error keeps its errno,
 * and the SHA-256 is there when the last byte is. Knows files; knows nothing of rows or of HTTP.
 */

import { createHash } from 'node:crypto'
import {
  closeSync,
  constants,
  fdatasync as fsDatasync,
  fstat as fsStat,
  ftruncate as fsTruncate,
  write as fsWrite,
  openSync,
} from 'node:fs'
import { open, rename as renameFile, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import type { Readable } from 'node:stream'
import { promisify } from 'node:util'
import { ServiceError } from '../../errors.ts'
import { isId } from '../../ids.ts'
import type { BytesReader, Room, Scratch } from '../bytes.ts'
import { sha256Of } from '../digest.ts'
import type { Beside, StagedEntry, Staging, WriteOptions, Written } from '../staging.ts'
import { besideOnDisk } from './beside.ts'
import type { DiskLibrary } from './disk-library.ts'
import { probeDirectory, syncDirectory } from './durability.ts'
import { fileReader } from './file-reader.ts'
import { GrowingFiles } from './growing-files.ts'
import { NamelessFile } from './nameless-file.ts'
import { roomIn } from './room.ts'
import { removeStaged, stagedEntries } from './staged-entries.ts'
import { HEAD_BYTES, type Progress, Writer } from './writer.ts'

const datasync = promisify(fsDatasync)
const truncateFd = promisify(fsTruncate)
const statFd = promisify(fsStat)
const writePart = promisify(fsWrite)

/** How often writers are asked whether slow bytes have waited long enough. */
const LOOK_EVERY_MS = 100
/** Running hashes and heads kept for uploads between their requests. */
const REMEMBERED_UPLOADS = 4_000
/** Read and written at once when one file is copied into another. */
const COPY_BYTES = 1024 * 1024

export class DiskStaging implements Staging {
  readonly beside: Beside
  readonly #directory: string
  readonly #library: Pick<DiskLibrary, 'put'>
  readonly #progress = new Map<string, Progress>()
  readonly #growing = new GrowingFiles()
  readonly #writers = new Set<Writer>()
  readonly #memory = { held: 0 }
  #ticker: NodeJS.Timeout | undefined
  #stopped = false

  /**
   * @param directory has to be there
   * @param library where `moveTo` moves to
   */
  constructor({ directory, library }: { directory: string; library: Pick<DiskLibrary, 'put'> }) {
    this.#directory = directory
    this.#library = library
    this.beside = besideOnDisk({
      directory,
      pathOf: (id) => this.pathOf(id),
      besideOf: (id) => this.#besideOf(id),
      forget: (id) => this.forget(id),
    })
  }

  async append(source: Readable, id: string, offset: number, options: WriteOptions = {}): Promise<Written> {
    // Only a file that begins is made: a hole where acknowledged bytes were would be a recording of silence.
    const fresh = offset === 0 ? constants.O_CREAT | constants.O_TRUNC : 0
    const file: { fd?: number; synced?: boolean } = {}
    let isNamed = !fresh
    const syncName = async () => {
      await syncDirectory(this.#directory)
      isNamed = true
    }
    const openFile = (synced: boolean): number => {
      if (file.fd === undefined) {
        file.fd = openSync(this.pathOf(id), constants.O_RDWR | fresh | (synced ? constants.O_DSYNC : 0), 0o600)
        file.synced = synced
      }
      return file.fd
    }
    let progress = this.#progress.get(id)
    try {
      if (progress?.hashedTo !== offset) {
        // Another process wrote here before, or a write failed: what lies beyond the offset was never acknowledged.
        if (!fresh) await cutBack(openFile(false), offset)
        progress = { hash: fresh ? createHash('sha256') : undefined, hashedTo: offset, head: undefined }
      }
      this.#remember(id, progress)
      const before = options.check && { ...progress, hash: progress.hash?.copy() }
      const writer = new Writer(source, offset, progress, {
        ...options,
        open: openFile,
        memory: this.#memory,
        onFirstCheckpoint: syncName,
      })
      this.#track(writer)
      if (this.#stopped) writer.stop()
      const written = await writer.done.finally(() => this.#untrack(writer))
      const { fd } = file
      if (fd === undefined && written.error) throw written.error
      if (before && (written.end !== 'all' || written.error || !options.check?.holds())) {
        if (fd !== undefined) await truncateFd(fd, offset)
        this.#remember(id, before)
        return { offset, end: written.end === 'all' ? 'mismatch' : written.end, error: written.error }
      }
      if (fd !== undefined && written.offset > offset && !file.synced) await datasync(fd)
      const whole = options.movesOn ? written.end === 'all' : written.offset === options.length
      if (written.error !== undefined && written.offset === 0) await this.#unmake(id)
      else if (fresh && !whole) await syncName()
      return written
    } catch (error) {
      this.#progress.delete(id)
      if (!isNamed) await this.#unmake(id)
      throw error
    } finally {
      if (file.fd !== undefined) closeSync(file.fd) // synced before: nothing is left to do that could block
    }
  }

  async write(bytes: Buffer, id: string, offset: number): Promise<void> {
    try {
      await this.#growing.use(this.pathOf(id), offset === 0, async (fd) => {
        let progress = this.#progress.get(id)
        if (!progress || progress.hashedTo !== offset) {
          await cutBack(fd, offset)
          progress = { hash: offset === 0 ? createHash('sha256') : undefined, hashedTo: offset, head: undefined }
        }
        this.#remember(id, progress)
        const written = writeFd(fd, bytes, offset)
        if (offset === 0) progress.head = Buffer.from(bytes.subarray(0, HEAD_BYTES))
        progress.hash?.update(bytes)
        progress.hashedTo += bytes.length
        await written
      })
      if (offset === 0) await syncDirectory(this.#directory)
    } catch (error) {
      this.forget(id)
      if (offset === 0) await this.#unmake(id)
      throw error
    }
  }

  /** A file of which nothing counts is made anew by the next try, so that its name is synced again. */
  async #unmake(id: string): Promise<void> {
    await rm(this.pathOf(id), { force: true }).catch(() => {})
  }

  async sha256(id: string, size: number): Promise<string> {
    const progress = this.#progress.get(id)
    if (progress?.hash && progress.hashedTo === size) return progress.hash.copy().digest('hex')
    const reader = this.reader(id)
    try {
      return await sha256Of(reader.read, size)
    } finally {
      await reader.close()
    }
  }

  reader(id: string): BytesReader {
    return fileReader(this.pathOf(id), this.#progress.get(id)?.head)
  }

  async truncate(id: string, size: number): Promise<void> {
    this.#progress.delete(id)
    const handle = await open(this.pathOf(id), constants.O_RDWR | constants.O_CREAT, 0o600)
    try {
      await handle.truncate(size)
      await handle.sync()
    } finally {
      await handle.close()
    }
  }

  async rename(from: string, to: string): Promise<void> {
    await renameFile(this.pathOf(from), this.pathOf(to))
    await syncDirectory(this.#directory)
    const progress = this.#progress.get(from)
    this.#progress.delete(from)
    if (progress) this.#remember(to, progress)
  }

  async copy(from: string, size: number, to: string, position: number): Promise<void> {
    const progress = this.#progress.get(to)
    this.#progress.delete(to)
    const source = await open(this.pathOf(from), 'r')
    const target = await open(this.pathOf(to), 'r+').catch(async (error) => {
      await source.close()
      throw error
    })
    try {
      await target.truncate(position)
      const hash = progress?.hashedTo === position ? progress.hash : undefined
      const read = async (at: number) => {
        const buffer = Buffer.allocUnsafe(Math.min(COPY_BYTES, size - at))
        const { bytesRead } = await source.read(buffer, 0, buffer.length, at)
        if (bytesRead === 0 && buffer.length > 0) throw new Error(`only ${at} of ${size} bytes are there`)
        return buffer.subarray(0, bytesRead)
      }
      let piece = await read(0)
      for (let at = 0; at < size; ) {
        const written = writeFd(target.fd, piece, position + at)
        const next = read(at + piece.length)
        // While the disk works.
        hash?.update(piece)
        at += piece.length
        ;[, piece] = await Promise.all([written, next])
      }
      await target.datasync()
      if (progress && hash) this.#remember(to, { ...progress, hashedTo: position + size })
    } finally {
      await source.close()
      await target.close()
    }
  }

  async sizeOf(id: string): Promise<number | undefined> {
    try {
      return (await stat(this.pathOf(id))).size
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw error
    }
  }

  sizeAtHand(id: string): number | undefined {
    const passed = this.#progress.get(id)?.hashedTo ?? -1
    return passed < 0 ? undefined : passed
  }

  async sync(id: string): Promise<void> {
    const handle = await open(this.pathOf(id), 'r')
    try {
      await handle.datasync()
    } finally {
      await handle.close()
    }
    await syncDirectory(this.#directory)
  }

  async moveTo(id: string, key: string): Promise<void> {
    // Whoever has to go on from here finds the bytes in the library, and nothing of them in memory.
    this.forget(id)
    await this.#library.put(this.pathOf(id), key)
  }

  async discard(id: string): Promise<void> {
    this.forget(id)
    await rm(this.pathOf(id), { force: true })
    await rm(this.#besideOf(id), { force: true, recursive: true })
  }

  stop(): void {
    this.#stopped = true
    for (const writer of this.#writers) writer.stop()
  }

  entries(): AsyncIterable<StagedEntry> {
    return stagedEntries(this.#directory)
  }

  remove(name: string): Promise<void> {
    return removeStaged(this.#directory, name)
  }

  scratch(name: string): Promise<Scratch> {
    return NamelessFile.open(this.#directory, name)
  }

  room(): Promise<Room> {
    return roomIn(this.#directory)
  }

  probe(): Promise<void> {
    return probeDirectory(this.#directory)
  }

  forget(id: string): void {
    this.#progress.delete(id)
    this.#growing.forget(this.pathOf(id))
  }

  /** Where an upload's bytes lie. @throws when the id could leave the directory */
  pathOf(id: string): string {
    if (!isId(id)) throw new ServiceError('upload_not_found', 'There is no such upload.')
    return this.#directory + path.sep + id
  }

  /** The folder for what waits beside an upload's file; no upload's name, since ids have no dot. */
  #besideOf(id: string): string {
    return `${this.pathOf(id)}.beside`
  }

  #remember(id: string, progress: Progress) {
    this.#progress.delete(id)
    this.#progress.set(id, progress)
    if (this.#progress.size > REMEMBERED_UPLOADS) {
      for (const oldest of this.#progress.keys()) {
        this.#progress.delete(oldest)
        break
      }
    }
  }

  #track(writer: Writer) {
    this.#writers.add(writer)
    this.#ticker ??= setInterval(() => {
      const now = performance.now()
      for (const each of this.#writers) each.tick(now)
    }, LOOK_EVERY_MS)
  }

  #untrack(writer: Writer) {
    this.#writers.delete(writer)
    if (this.#writers.size > 0) return
    clearInterval(this.#ticker)
    this.#ticker = undefined
  }
}

/** Writes all of the bytes. @throws ENOSPC also for a disk that takes none and says nothing */
async function writeFd(fd: number, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await writePart(fd, bytes, done, bytes.length - done, position + done)
    if (bytesWritten === 0) throw Object.assign(new Error('the disk took no bytes'), { code: 'ENOSPC' })
    done += bytesWritten
  }
}

/** Cuts a file to what was acknowledged of it. @throws ENOENT when not all of that is there */
async function cutBack(fd: number, offset: number): Promise<void> {
  const { size } = await statFd(fd)
  if (size < offset) throw Object.assign(new Error(`only ${size} of ${offset} bytes are there`), { code: 'ENOENT' })
  if (size > offset) await truncateFd(fd, offset)
}

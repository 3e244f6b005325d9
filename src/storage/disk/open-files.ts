/**
 * Open files of recordings, shared by all who listen to the same one, and kept a moment for the next range.
 *
 * A player asks for one recording many times within seconds. Opening and closing the file each time costs more than
 * reading 64 KiB from it (64 listeners, one core: 13,300 ranges a second with, 20,300 without).
 */
import fs from 'node:fs'
import type { Bytes } from '../bytes.ts'
import { Pieces } from './pieces.ts'

/** Without a reader for this long, a file is closed. */
const IDLE_MS = 2_000
/** Beyond this many open files, those without a reader go at once. */
const MAX_KEPT = 256

export interface OpenFiles {
  /** @throws ENOENT when there is no such file */
  acquire(key: string): Bytes | Promise<Bytes>
  /** The file is about to go: no new reader gets it, and its last reader closes it. */
  forget(key: string): void
  /** Closes the files that have no reader now, and each of the rest when its last reader is done. */
  close(): void
}

/** @param pathOf where the file of a key lies */
export function createOpenFiles(pathOf: (key: string) => string): OpenFiles {
  const kept = new Map<string, Shared | Promise<Shared>>()
  const idle = new Set<Shared>()
  let timer: NodeJS.Timeout | undefined
  let closing = false

  function drop(shared: Shared): void {
    idle.delete(shared)
    if (kept.get(shared.key) === shared) kept.delete(shared.key)
    fs.close(shared.fd, () => {}) // nothing was written; there is nothing to be told
  }

  function sweep(): void {
    timer = undefined
    const nowMs = performance.now()
    for (const shared of idle) if (nowMs - shared.idleSinceMs >= IDLE_MS) drop(shared)
    schedule()
  }

  function schedule(): void {
    if (idle.size > 0) timer ??= setTimeout(sweep, IDLE_MS / 2).unref()
  }

  function onIdle(shared: Shared): void {
    if (closing || kept.get(shared.key) !== shared) {
      drop(shared)
      return
    }
    shared.idleSinceMs = performance.now()
    idle.add(shared)
    if (kept.size > MAX_KEPT) {
      for (const longest of idle) {
        drop(longest)
        break
      }
    }
    schedule()
  }

  /** Nothing may be awaited between finding a file and this: it could be closed meanwhile. */
  function use(shared: Shared): Bytes {
    idle.delete(shared)
    shared.readers++
    return shared
  }

  function acquire(key: string): Bytes | Promise<Bytes> {
    const known = kept.get(key)
    if (known instanceof Shared) return use(known)
    if (known !== undefined) return known.then(use)
    const opening: Promise<Shared> = openShared(key, pathOf(key), onIdle).then(
      (shared) => {
        if (kept.get(key) === opening) kept.set(key, shared)
        return shared
      },
      (error) => {
        if (kept.get(key) === opening) kept.delete(key)
        throw error
      },
    )
    kept.set(key, opening)
    return opening.then(use)
  }

  function forget(key: string): void {
    const known = kept.get(key)
    kept.delete(key)
    if (known instanceof Shared && known.readers === 0) drop(known)
  }

  function close(): void {
    closing = true
    clearTimeout(timer)
    for (const shared of idle) drop(shared)
  }

  return { acquire, forget, close }
}

class Shared implements Bytes {
  readonly key: string
  readonly fd: number
  readonly size: number
  readers = 0
  idleSinceMs = 0
  readonly #onIdle: (shared: Shared) => void

  constructor(key: string, fd: number, size: number, onIdle: (shared: Shared) => void) {
    this.key = key
    this.fd = fd
    this.size = size
    this.#onIdle = onIdle
  }

  range(start: number, end: number): AsyncIterable<Buffer> {
    return new Pieces(this.#read, start, end)
  }

  // The callback API: FileHandle's promises cost 20 µs more for each file opened, read and closed.
  #read = (target: Uint8Array, length: number, position: number): Promise<number> =>
    new Promise((resolve, reject) => {
      fs.read(this.fd, target, 0, length, position, (error, count) => (error ? reject(error) : resolve(count)))
    })

  release(): void {
    if (--this.readers === 0) this.#onIdle(this)
  }
}

const openShared = (key: string, file: string, onIdle: (shared: Shared) => void): Promise<Shared> =>
  new Promise((resolve, reject) => {
    fs.open(file, 'r', (openError, fd) => {
      if (openError) return reject(openError)
      fs.fstat(fd, (statError, stat) => {
        if (!statError) return resolve(new Shared(key, fd, stat.size, onIdle))
        fs.close(fd, () => reject(statError))
      })
    })
  })

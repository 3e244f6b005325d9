/**
 * The library in a bucket: an object for each recording, under a key that one finish alone has written to.
 *
 * What somebody listens to is streamed range by range. Nothing holds an object that is removed: a range that has begun
 * goes on, and the next says that it is gone.
 */
import type { Readable } from 'node:stream'
import type { Bytes, BytesReader, Room } from '../bytes.ts'
import { NamelessFile } from '../disk/nameless-file.ts'
import type { Entry } from '../entry.ts'
import type { Described, Library } from '../library.ts'
import { QUARANTINE, RECORDINGS, recordingAt } from './bucket-layout.ts'
import { bytesOf, rangeOf } from './ranges.ts'
import type { ObjectStore } from './s3-client.ts'
import { missing } from './store-fault.ts'

/** A player asks for one recording many times within seconds; its size never changes. */
const SIZES_KEPT = 2_000
const SIZE_GOOD_FOR_MS = 5_000
const DAY_MS = 86_400_000
const DAY = /^\d{4}-\d{2}-\d{2}$/

interface Parts {
  store: ObjectStore
  /** As the staging has it. */
  probe: () => Promise<void>
  /** A directory of this machine for files without a name; it has to be there. */
  scratchDirectory: string
}

export class ObjectLibrary implements Library {
  readonly probe: () => Promise<void>
  readonly #store: ObjectStore
  readonly #scratchDirectory: string
  readonly #sizes = new Map<string, { size: number; atMs: number }>()

  constructor({ store, probe, scratchDirectory }: Parts) {
    this.probe = probe
    this.#store = store
    this.#scratchDirectory = scratchDirectory
  }

  async acquire(key: string, told?: number): Promise<Bytes> {
    const at = recordingAt(key)
    const size = told ?? (await this.#sizeKept(key))
    if (size === undefined) throw missing(key)
    const open = new Set<Readable>()
    return {
      size,
      range: (start, end) => rangeOf(this.#store, at, start, end, open),
      release() {
        for (const stream of open) stream.destroy()
      },
    }
  }

  async #sizeKept(key: string): Promise<number | undefined> {
    const nowMs = performance.now()
    const known = this.#sizes.get(key)
    if (known && nowMs - known.atMs < SIZE_GOOD_FOR_MS) return known.size
    const size = await this.sizeOf(key)
    this.#sizes.delete(key)
    if (size === undefined) return undefined
    this.#sizes.set(key, { size, atMs: nowMs })
    if (this.#sizes.size > SIZES_KEPT) {
      for (const oldest of this.#sizes.keys()) {
        this.#sizes.delete(oldest)
        break
      }
    }
    return size
  }

  reader(key: string): BytesReader {
    const at = recordingAt(key)
    let spooled: Promise<NamelessFile> | undefined
    const size = async () => {
      const told = await this.sizeOf(key)
      if (told === undefined) throw missing(key)
      return told
    }
    let sized: Promise<number> | undefined
    const sizeOnce = () => {
      sized ??= size()
      return sized
    }
    return {
      read: async (position, length) => {
        const left = Math.max(0, (await sizeOnce()) - position)
        return bytesOf(this.#store, at, position, Math.min(length, left))
      },
      file: async () => {
        spooled ??= this.#spool(at, await sizeOnce())
        return (await spooled).path
      },
      async close() {
        await (await spooled?.catch(() => undefined))?.close()
      },
    }
  }

  async #spool(at: string, size: number): Promise<NamelessFile> {
    const file = await NamelessFile.open(this.#scratchDirectory)
    try {
      let position = 0
      for await (const piece of rangeOf(this.#store, at, 0, size - 1)) {
        await file.write(piece, position)
        position += piece.length
      }
      return file
    } catch (error) {
      await file.close()
      throw error
    }
  }

  async sizeOf(key: string): Promise<number | undefined> {
    return this.#store.sizeOf(recordingAt(key))
  }

  async addressOf(key: string, seconds: number, described: Described): Promise<string> {
    return this.#store.addressOf(recordingAt(key), seconds, described)
  }

  async remove(key: string): Promise<void> {
    this.#sizes.delete(key)
    await this.#store.remove([recordingAt(key)])
  }

  async *entries(): AsyncGenerator<Entry> {
    for await (const entry of this.#store.list(RECORDINGS)) {
      yield { ...entry, name: entry.name.slice(RECORDINGS.length) }
    }
  }

  /** Multipart uploads of finishes that have not ended, by key and id. */
  async *leftovers(): AsyncGenerator<Entry> {
    for await (const { key, uploadId, startedAtMs } of this.#store.unfinished(RECORDINGS)) {
      yield { name: `${key}?${uploadId}`, bytes: 0, changedAtMs: startedAtMs }
    }
  }

  async quarantine(key: string, nowMs: number): Promise<string> {
    const to = `${QUARANTINE}${new Date(nowMs).toISOString().slice(0, 10)}/${key}`
    await this.#store.copy(recordingAt(key), to)
    await this.remove(key)
    return to
  }

  async *quarantined(): AsyncGenerator<Entry> {
    let day: Entry | undefined
    for await (const { name, bytes } of this.#store.list(QUARANTINE)) {
      const [, of = ''] = name.split('/')
      if (!DAY.test(of)) continue
      const folder = QUARANTINE + of
      if (day && day.name !== folder) yield day
      if (day?.name === folder) day.bytes += bytes
      else day = { name: folder, bytes, changedAtMs: Date.parse(of) + DAY_MS }
    }
    if (day) yield day
  }

  async discard(name: string): Promise<void> {
    const [, key, uploadId] = /^(recordings\/[^?]+)\?(.+)$/.exec(name) ?? []
    if (key !== undefined && uploadId !== undefined) return this.#store.abort(key, uploadId)
    const [folder = '', day = '', ...more] = name.split('/')
    if (`${folder}/` !== QUARANTINE || !DAY.test(day) || more.length > 0) {
      throw new Error(`${JSON.stringify(name)} is not the library's to discard`)
    }
    const names: string[] = []
    for await (const entry of this.#store.list(`${name}/`)) names.push(entry.name)
    await this.#store.remove(names)
  }

  async room(): Promise<Room> {
    return { freeBytes: 'unbounded', volume: this.#store.place }
  }

  /** Nothing waits for its next listener. */
  close(): void {}
}

/**
 * All bytes of an upload at the finishing instance: in memory where they are few, else in a file without a name. Each
 * segment is read once, unless it is at hand.
 */
import { createHash } from 'node:crypto'
import { NamelessFile } from '../disk/nameless-file.ts'
import type { Segment } from '../staging.ts'
import { recordingAt, UPLOADS } from './bucket-layout.ts'
import { bytesOf, rangeOf } from './ranges.ts'
import type { RecentBytes } from './recent-bytes.ts'
import type { ObjectStore, StoredPart } from './s3-client.ts'
import { missing } from './store-fault.ts'

/** Up to here all is in memory, and one PUT. */
export const SMALL_BYTES = 16 * 1024 * 1024
/** Of a multipart upload; S3 takes 10,000 of them. */
const PART_BYTES = 8 * 1024 * 1024
/** Segments that are read at once. */
const READERS = 4

export interface Parts {
  store: ObjectStore
  recent: RecentBytes
  /** Where nameless files are. */
  scratchDirectory: string
}

/** What the upload has. */
export interface Made {
  segments: readonly Segment[]
  tail: Buffer | undefined
  size: number
}

export interface Whole {
  read(position: number, length: number): Promise<Uint8Array>
  /** A file of this machine with the bytes; there until `close`. */
  file(): Promise<string>
  sha256(): string
  /** Stores the bytes as a recording. @param sha256 of them, where it is known */
  putUnder(key: string, sha256: string | undefined): Promise<void>
  close(): Promise<void>
}

/** @throws ENOENT when a segment is gone */
export function gather(parts: Parts, made: Made): Promise<Whole> {
  return made.size <= SMALL_BYTES ? inMemory(parts, made) : inFile(parts, made)
}

const sizeOf = (pieces: readonly Buffer[]) => pieces.reduce((sum, { length }) => sum + length, 0)

/** A segment's bytes, from memory or from the store. */
async function bytesOfSegment({ store, recent }: Parts, { name, size }: Segment): Promise<Buffer> {
  const known = recent.get(name)
  if (known && known.length >= size) return known.subarray(0, size)
  const bytes = await bytesOf(store, UPLOADS + name, 0, size)
  recent.add(name, bytes)
  return bytes
}

async function inMemory(parts: Parts, { segments, tail, size }: Made): Promise<Whole> {
  const pieces: Buffer[] = []
  let next = 0
  const readOn = async () => {
    for (let at = next++; at < segments.length; at = next++) {
      pieces[at] = await bytesOfSegment(parts, segments[at] as Segment)
    }
  }
  await Promise.all(Array.from({ length: READERS }, readOn))
  if (tail) pieces.push(tail)
  if (sizeOf(pieces) !== size) throw missing(`a byte of ${size}`)
  let scratch: Promise<NamelessFile> | undefined
  const written = async () => {
    const file = await NamelessFile.open(parts.scratchDirectory)
    let position = 0
    for (const piece of pieces) {
      await file.write(piece, position)
      position += piece.length
    }
    return file
  }
  return {
    async read(position, length) {
      const wanted: Buffer[] = []
      let at = 0
      for (const piece of pieces) {
        const [from, to] = [Math.max(0, position - at), Math.min(piece.length, position + length - at)]
        if (from < to) wanted.push(piece.subarray(from, to))
        at += piece.length
      }
      return wanted.length === 1 ? (wanted[0] as Buffer) : Buffer.concat(wanted)
    },
    async file() {
      scratch ??= written()
      return (await scratch).path
    },
    sha256() {
      const hash = createHash('sha256')
      for (const piece of pieces) hash.update(piece)
      return hash.digest('hex')
    },
    async putUnder(key, sha256) {
      const bytes = pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces)
      await parts.store.put(recordingAt(key), bytes, sha256)
    },
    async close() {
      await (await scratch?.catch(() => undefined))?.close()
    },
  }
}

async function inFile(parts: Parts, made: Made): Promise<Whole> {
  const file = await NamelessFile.open(parts.scratchDirectory)
  try {
    const sha256 = await spool(parts, made, file)
    return {
      read: (position, length) => file.read(position, length),
      file: async () => file.path,
      sha256: () => sha256,
      putUnder: (key) => putInParts(parts.store, file, made.size, recordingAt(key)),
      close: () => file.close(),
    }
  } catch (error) {
    await file.close()
    throw error
  }
}

/** @returns the SHA-256 of what is in the file now */
async function spool({ store, recent }: Parts, { segments, tail, size }: Made, file: NamelessFile): Promise<string> {
  const hash = createHash('sha256')
  let position = 0
  const take = async (piece: Buffer) => {
    hash.update(piece)
    await file.write(piece, position)
    position += piece.length
  }
  for (const segment of segments) {
    const known = recent.get(segment.name)
    if (known) await take(known.subarray(0, segment.size))
    else for await (const piece of rangeOf(store, UPLOADS + segment.name, 0, segment.size - 1)) await take(piece)
  }
  if (tail) await take(tail)
  if (position !== size) throw missing(`a byte of ${size}`)
  return hash.digest('hex')
}

/** A multipart upload of this finish alone: nobody else knows its id. */
async function putInParts(store: ObjectStore, file: NamelessFile, size: number, key: string): Promise<void> {
  const uploadId = await store.begin(key)
  try {
    const stored: StoredPart[] = []
    for (let position = 0; position < size; position += PART_BYTES) {
      const bytes = await file.read(position, Math.min(PART_BYTES, size - position))
      stored.push(await store.part(key, uploadId, stored.length + 1, bytes))
    }
    await store.complete(key, uploadId, stored)
  } catch (error) {
    // The answer may have been lost: the key is of this attempt alone, so that what lies there is its own.
    if ((await store.sizeOf(key).catch(() => undefined)) === size) return
    await store.abort(key, uploadId).catch(() => {})
    throw error
  }
}

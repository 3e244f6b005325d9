/** Chunks of an upload, each an object of its own: which of them count, and in which order, is told by rows. */
import { randomBytes } from 'node:crypto'
import type { Beside, Segment, Stretch } from '../staging.ts'
import { UPLOADS } from './bucket-layout.ts'
import { rangeOf } from './ranges.ts'
import type { ObjectStore } from './s3-client.ts'

export interface BesideInStore extends Beside {
  /** Those that were kept here, and not removed. */
  readonly kept: ReadonlySet<string>
}

/** @param segments what the upload has of its own */
export function besideInStore(store: ObjectStore, id: string, segments: () => readonly Segment[]): BesideInStore {
  const folder = `${id}/chunk-`
  const kept = new Set<string>()

  async function* read(stretches: Iterable<Stretch> | AsyncIterable<Stretch>): AsyncGenerator<Buffer> {
    for await (const { file, position, bytes } of stretches) {
      if (file === id) yield* readOwn(position, bytes)
      else if (bytes > 0) yield* rangeOf(store, UPLOADS + file, position, position + bytes - 1)
    }
  }

  async function* readOwn(position: number, bytes: number): AsyncGenerator<Buffer> {
    for (const each of segments()) {
      const from = Math.max(0, position - each.position)
      const to = Math.min(each.size, position + bytes - each.position)
      if (from < to) yield* rangeOf(store, UPLOADS + each.name, from, to - 1)
    }
  }

  return {
    kept,
    read,
    async keep(index, bytes) {
      const name = `${folder}${index}-${randomBytes(8).toString('base64url')}`
      await store.put(UPLOADS + name, bytes)
      kept.add(name)
      return name
    },
    async holds(stretch, expected) {
      if (stretch.bytes !== expected.length) return false
      let at = 0
      for await (const piece of read([stretch])) {
        if (expected.compare(piece, 0, piece.length, at, at + piece.length) !== 0) return false
        at += piece.length
      }
      return at === stretch.bytes
    },
    async remove(name) {
      await store.remove([UPLOADS + name])
      kept.delete(name)
    },
    /** Chunks that have become the upload's own stay. */
    async clear() {
      const own = new Set(segments().map(({ name }) => UPLOADS + name))
      const names: string[] = []
      for await (const { name } of store.list(UPLOADS + folder)) if (!own.has(name)) names.push(name)
      await store.remove(names)
      kept.clear()
    },
    isWhole: () => false,
    compose: () => Promise.reject(laidOut()),
    become: () => Promise.reject(laidOut()),
  }
}

const laidOut = () => new Error('where rows tell the order of an upload’s bytes, they are never laid out anew')

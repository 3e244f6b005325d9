/**
 * The staging in a bucket: bytes as objects under names that are used once, nobody's until a row names them. So nothing
 * here has to be locked, and nothing is ever written over.
 *
 * What bodies hold of the memory is bounded, and so is what finishes do; what waits for either holds none of the other.
 */
import { ServiceError } from '../../errors.ts'
import { isId } from '../../ids.ts'
import type { Room, Scratch } from '../bytes.ts'
import { NamelessFile } from '../disk/nameless-file.ts'
import type { Segment, Staged, StagedEntry, Staging } from '../staging.ts'
import { BodyPool } from './body-pool.ts'
import { MOMENTARY, UPLOADS } from './bucket-layout.ts'
import { ByteBudget } from './byte-budget.ts'
import { type Home, ObjectStaged } from './object-staged.ts'
import type { ObjectStore } from './s3-client.ts'
import { WarmHashes } from './warm-hashes.ts'

/** Of the memory, what finishes have of their own. */
const FINISHING = 1 / 4

interface Parts {
  store: ObjectStore
  /** As the library has it: one store is asked once. */
  probe: () => Promise<void>
  /** For bodies and finishes, in bytes; 64 MiB or more. */
  memoryBytes: number
  /** A directory of this machine for files without a name; it has to be there. */
  scratchDirectory: string
}

export class ObjectStaging implements Staging {
  readonly segmented = true
  readonly probe: () => Promise<void>
  readonly #store: ObjectStore
  readonly #scratchDirectory: string
  readonly #home: Home

  constructor({ store, probe, memoryBytes, scratchDirectory }: Parts) {
    this.probe = probe
    this.#store = store
    this.#scratchDirectory = scratchDirectory
    const pool = new BodyPool(memoryBytes * (1 - FINISHING))
    this.#home = {
      store,
      pool,
      hashes: new WarmHashes(),
      lender: {
        parts: { store, recent: pool.recent, scratchDirectory },
        budget: new ByteBudget(memoryBytes * FINISHING),
      },
    }
  }

  /** What bodies hold of the memory now, in bytes. */
  get heldBytes(): number {
    return this.#home.pool.held
  }

  of(id: string, segments: readonly Segment[] = []): Staged {
    if (!isId(id)) throw new ServiceError('upload_not_found', 'There is no such upload.')
    return new ObjectStaged(this.#home, id, segments)
  }

  async *entries(): AsyncGenerator<StagedEntry> {
    for await (const { name, bytes, changedAtMs } of this.#store.list(UPLOADS)) {
      const own = name.slice(UPLOADS.length)
      const [id = ''] = own.split('/')
      yield { name: own, bytes, changedAtMs, uploadId: isId(id) ? id : undefined }
    }
  }

  async remove(name: string): Promise<void> {
    const [id = '', own, ...more] = name.split('/')
    const isOfUpload = isId(id) && own && more.length === 0 && !/^\.+$/.test(own)
    if (!isOfUpload && !MOMENTARY.test(name)) throw new Error(`${JSON.stringify(name)} is no entry of the uploads`)
    await this.#store.remove([UPLOADS + name])
  }

  scratch(name: string): Promise<Scratch> {
    return NamelessFile.open(this.#scratchDirectory, name)
  }

  async room(): Promise<Room> {
    return { freeBytes: 'unbounded', volume: this.#store.place }
  }

  stop(): void {
    this.#home.pool.stop()
  }
}

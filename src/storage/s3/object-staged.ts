/**
 * One upload's bytes as objects that are never changed: a segment for each body, under a name that is used once. Rows say
 * which segments count; an object that no row names is nobody's.
 *
 * Memory has the running SHA-256, and the last bytes of an upload that is whole, which are stored with its recording.
 */
import { createHash, type Hash, randomBytes } from 'node:crypto'
import type { Readable } from 'node:stream'
import type { BytesReader } from '../bytes.ts'
import { giveBack } from '../give-back.ts'
import type { Segment, Staged, WriteOptions, Written } from '../staging.ts'
import type { BodyPool } from './body-pool.ts'
import { recordingAt, UPLOADS } from './bucket-layout.ts'
import type { Gathered } from './gatherer.ts'
import { type Lender, type Lent, LentWhole } from './lent-whole.ts'
import { type BesideInStore, besideInStore } from './object-beside.ts'
import type { ObjectStore } from './s3-client.ts'
import { isMissing, missing } from './store-fault.ts'
import type { WarmHashes } from './warm-hashes.ts'
import { SMALL_BYTES } from './whole.ts'

/** What all handles of a staging share. */
export interface Home {
  store: ObjectStore
  pool: BodyPool
  hashes: WarmHashes
  lender: Lender
}

const endOf = ({ position, size }: Segment) => position + size

export class ObjectStaged implements Staged {
  readonly id: string
  readonly beside: BesideInStore
  readonly #home: Home
  /** As the table has them. */
  #recorded: Segment[]
  #pending: Segment[] = []
  /** The last bytes, in memory alone. */
  #tail: Buffer | undefined
  /** Valid where it ends with the bytes; `to` grows as they come. */
  #hash: { hash: Hash | undefined; to: number } | undefined
  /** Of all bytes up to `to`, where they were read for it. */
  #sum: { sha256: string; to: number } | undefined
  readonly #whole: LentWhole

  constructor(home: Home, id: string, segments: readonly Segment[]) {
    this.id = id
    this.#home = home
    this.#recorded = [...segments]
    this.beside = besideInStore(home.store, id, () => this.#segments)
    this.#whole = new LentWhole(home.lender)
    const hash = home.hashes.of(id, segments)
    if (hash) this.#hash = { hash, to: this.#stored }
  }

  get pending(): readonly Segment[] {
    return this.#pending
  }

  recorded(): void {
    if (this.#pending.length === 0) return
    this.#recorded.push(...this.#pending)
    this.#pending = []
    const { hash, to } = this.#hash ?? { to: -1 }
    if (hash && to === this.#stored) this.#home.hashes.keep(this.id, this.#recorded, hash)
  }

  get #segments(): readonly Segment[] {
    return this.#pending.length === 0 ? this.#recorded : [...this.#recorded, ...this.#pending]
  }

  /** What is stored ends here. */
  get #stored(): number {
    const last = this.#pending.at(-1) ?? this.#recorded.at(-1)
    return last ? endOf(last) : 0
  }

  get #end(): number {
    return this.#stored + (this.#tail?.length ?? 0)
  }

  async append(source: Readable, offset: number, options: WriteOptions = {}): Promise<Written> {
    const before = this.#beginAt(offset)
    const counted = { hash: before?.copy(), to: offset }
    this.#hash = counted
    const stored: Segment[] = []
    const gathered = await this.#home.pool.run(source, offset, {
      ...options,
      hash: counted.hash,
      onCame: (bytes) => {
        counted.to += bytes
      },
      store: async (position, bytes) => {
        const segment = await this.#put(position, bytes)
        if (options.check) stored.push(segment)
        else this.#pending.push(segment)
      },
    })
    const { end, error } = gathered
    try {
      if (!options.check || (end === 'all' && error === undefined && options.check.holds())) {
        this.#count(gathered, stored)
        return { offset: gathered.offset, end, ...(error !== undefined && { error }) }
      }
    } catch (failed) {
      this.#drop(gathered, stored, { hash: before, to: offset })
      throw failed
    }
    this.#drop(gathered, stored, { hash: before, to: offset })
    return { offset, end: end === 'all' ? 'mismatch' : end, ...(error !== undefined && { error }) }
  }

  #count({ offset, hash, tail }: Gathered, stored: readonly Segment[]): void {
    this.#pending.push(...stored)
    this.#tail = tail
    if (tail) this.#home.pool.hold(this, tail.length)
    this.#hash = { hash, to: offset }
  }

  /** The bytes of a body do not count. */
  #drop({ tail }: Gathered, stored: readonly Segment[], before: { hash: Hash | undefined; to: number }): void {
    if (tail) this.#home.pool.give(tail.length)
    this.#hash = before
    this.#strayed(stored)
  }

  async write(bytes: Buffer, offset: number): Promise<void> {
    const hash = this.#beginAt(offset)
    // The caller may use its memory again, and a finish is about to need the bytes.
    this.#pending.push(await this.#put(offset, Buffer.from(bytes)))
    hash?.update(bytes)
    this.#hash = { hash, to: this.#stored }
  }

  /**
   * What lies beyond the offset was never acknowledged, and goes.
   *
   * @returns the hash of what lies before it, where it is known
   * @throws ENOENT when fewer bytes are there
   */
  #beginAt(offset: number): Hash | undefined {
    if (this.#end < offset) throw missing(`byte ${this.#end} of ${offset} bytes`)
    if (this.#end > offset) this.#cutTo(offset)
    this.#sum = undefined
    this.#whole.close()
    const hash = this.#hash?.to === offset ? this.#hash.hash : undefined
    return offset === 0 ? createHash('sha256') : hash
  }

  #cutTo(offset: number): void {
    this.#letGo()
    const beyond = this.#pending.filter(({ position }) => position >= offset)
    this.#strayed(beyond)
    const kept = (segments: readonly Segment[]) =>
      segments
        .filter(({ position }) => position < offset)
        .map((each) => (endOf(each) > offset ? { ...each, size: offset - each.position } : each))
    this.#recorded = kept(this.#recorded)
    this.#pending = kept(this.#pending)
    if (this.#end < offset) throw missing(`byte ${this.#end} of ${offset} bytes`)
  }

  async truncate(size: number): Promise<void> {
    if (this.#end < size) throw missing(`byte ${this.#end} of ${size} bytes`)
    if (this.#end > size) this.#cutTo(size)
  }

  /** Stores bytes under a name of their own, and keeps them at hand where a finish will need few. */
  async #put(position: number, bytes: Buffer): Promise<Segment> {
    const { store, pool } = this.#home
    const name = `${this.id}/${position}-${randomBytes(8).toString('base64url')}`
    const { length } = bytes
    await store.put(UPLOADS + name, bytes)
    if (position + length <= SMALL_BYTES) pool.keep(name, bytes)
    else giveBack(bytes)
    return { position, size: length, name }
  }

  /** Objects that no row will name: the sweep finds what can't be removed just now. */
  #strayed(segments: readonly Segment[]): void {
    if (segments.length === 0) return
    for (const { name } of segments) this.#home.pool.recent.discard(name)
    this.#home.store.remove(segments.map(({ name }) => UPLOADS + name)).catch(() => {})
  }

  async sync(): Promise<void> {
    if (this.#end === 0) throw missing(`a byte of ${this.id}`)
    const tail = this.#tail
    if (!tail) return
    const segment = await this.#put(this.#stored, tail)
    this.#dropTail()
    this.#pending.push(segment)
  }

  async size(): Promise<number | undefined> {
    return this.#end || undefined
  }

  sizeAtHand(): number | undefined {
    return this.#hash?.to || undefined
  }

  #lend() {
    return this.#whole.lend({ segments: this.#segments, tail: this.#tail, size: this.#end })
  }

  reader(): BytesReader {
    let lent: Promise<Lent> | undefined
    const whole = async () => {
      lent ??= this.#lend()
      return (await lent).whole
    }
    return {
      read: async (position, length) => (await whole()).read(position, length),
      file: async () => (await whole()).file(),
      async close() {
        ;(await lent?.catch(() => undefined))?.giveBack()
      },
    }
  }

  async sha256(size: number): Promise<string> {
    if (this.#end < size) throw missing(`byte ${this.#end} of ${size} bytes`)
    if (this.#end > size) this.#cutTo(size)
    const known = this.#sha256()
    if (known !== undefined) return known
    const { whole, giveBack } = await this.#lend()
    try {
      this.#sum = { sha256: whole.sha256(), to: size }
    } finally {
      giveBack()
    }
    return this.#sum.sha256
  }

  /** Of all bytes, where memory knows it. */
  #sha256(): string | undefined {
    const { hash, to } = this.#hash ?? { to: -1 }
    if (hash && to === this.#end) return hash.copy().digest('hex')
    return this.#sum?.to === this.#end ? this.#sum.sha256 : undefined
  }

  async moveTo(key: string): Promise<void> {
    const { store } = this.#home
    const size = this.#end
    try {
      if (size === 0) throw missing(`a byte of ${this.id}`)
      const { whole, giveBack } = await this.#lend()
      try {
        await whole.putUnder(key, this.#sha256())
      } finally {
        giveBack()
      }
    } catch (error) {
      // Another finish has moved them, and what was staged is gone.
      if (!isMissing(error)) throw error
      const moved = await store.sizeOf(recordingAt(key))
      if (moved === undefined || (size > 0 && moved !== size)) throw error
    }
    // What is left of it in memory is needed only if the commit fails: `sync` stores it then.
    this.#hash = undefined
    this.#whole.close()
  }

  takeFrom(): Promise<void> {
    return Promise.reject(joinedByRows())
  }

  copyFrom(): Promise<void> {
    return Promise.reject(joinedByRows())
  }

  async discard(): Promise<void> {
    const { store, pool, hashes } = this.#home
    const names = new Set([...this.#segments.map(({ name }) => name), ...this.beside.kept])
    this.#letGo()
    hashes.forget(this.id)
    for (const name of names) pool.recent.discard(name)
    if (names.size > 0) await store.remove([...names].map((name) => UPLOADS + name))
    this.#recorded = []
    this.#pending = []
  }

  forget(): void {
    this.#letGo()
  }

  #letGo(): void {
    this.#dropTail()
    this.#hash = undefined
    this.#sum = undefined
    this.#whole.close()
  }

  #dropTail(): void {
    const tail = this.#tail
    this.#tail = undefined
    if (tail) this.#home.pool.letGo(this, tail.length)
  }
}

const joinedByRows = () => new Error('where rows tell what an upload’s bytes are, they are joined by rows')

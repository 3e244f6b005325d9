/**
 * All bodies that are being gathered, within one memory: where it is full, clients wait, and the fullest bodies are
 * stored as they are. What is left of it has segments that were stored just now.
 */
import type { Readable } from 'node:stream'
import { ReadingTurns } from '../reading-turns.ts'
import { type Gathered, Gatherer, type GatherOptions } from './gatherer.ts'
import { RecentBytes } from './recent-bytes.ts'

/** How often bodies are asked whether what they brought has waited long enough. */
const LOOK_EVERY_MS = 500
/** In a full memory, so much of it is on its way to the store. */
const RELIEF = 1 / 8

export class BodyPool {
  readonly recent = new RecentBytes()
  readonly #limit: number
  readonly #turns = new ReadingTurns()
  readonly #running = new Set<Gatherer>()
  readonly #waiting = new Set<Gatherer>()
  /** A handle that is dropped with bytes in memory, by an oversight, costs others no memory for ever. */
  readonly #dropped = new FinalizationRegistry<number>((bytes) => this.give(bytes))
  #held = 0
  #ticker: NodeJS.Timeout | undefined
  #stopped = false

  /** @param limit in bytes; each body may exceed it by one piece of its socket */
  constructor(limit: number) {
    this.#limit = limit
  }

  /** Bytes of bodies, without the recent ones. */
  get held(): number {
    return this.#held
  }

  get isFull(): boolean {
    return this.#held >= this.#limit
  }

  /** Gathers what the source brings; resolves when it has ended. What it leaves in memory is counted until it is let go. */
  run(source: Readable, offset: number, options: Omit<GatherOptions, 'pool' | 'turns'>): Promise<Gathered> {
    const gatherer = new Gatherer(source, offset, { ...options, pool: this, turns: this.#turns })
    this.#running.add(gatherer)
    this.#ticker ??= setInterval(() => {
      const now = performance.now()
      for (const each of this.#running) each.tick(now)
    }, LOOK_EVERY_MS)
    if (this.#stopped) gatherer.stop()
    return gatherer.done.finally(() => this.#end(gatherer))
  }

  take(bytes: number): void {
    this.#held += bytes
    this.recent.shrinkTo(Math.max(0, this.#limit - this.#held))
  }

  give(bytes: number): void {
    this.#held -= bytes
    this.#relieve()
  }

  /** What a body has left in memory is the owner's now. */
  hold(owner: object, bytes: number): void {
    this.#dropped.register(owner, bytes, owner)
  }

  letGo(owner: object, bytes: number): void {
    this.#dropped.unregister(owner)
    this.give(bytes)
  }

  /** Keeps what was stored at hand, as far as there is room. */
  keep(name: string, bytes: Buffer): void {
    this.recent.add(name, bytes)
    this.take(0)
  }

  /** A body waits for room. */
  wait(gatherer: Gatherer): void {
    this.#waiting.add(gatherer)
    this.#relieve()
  }

  /** Ends every body, and each that begins from now on. */
  stop(): void {
    this.#stopped = true
    for (const each of this.#running) each.stop()
  }

  #end(gatherer: Gatherer): void {
    this.#running.delete(gatherer)
    this.#waiting.delete(gatherer)
    if (this.#running.size > 0) return
    clearInterval(this.#ticker)
    this.#ticker = undefined
  }

  #relieve(): void {
    for (const each of this.#waiting) {
      if (this.isFull) break
      this.#waiting.delete(each)
      each.goOn()
    }
    if (this.#waiting.size === 0) return
    let leaving = 0
    for (const each of this.#running) leaving += each.storingBytes
    if (leaving >= this.#limit * RELIEF) return
    const fullest = [...this.#running].filter((each) => each.storingBytes === 0 && each.gatheredBytes > 0)
    fullest.sort((a, b) => b.gatheredBytes - a.gatheredBytes)
    for (const each of fullest) {
      if (leaving >= this.#limit * RELIEF) return
      leaving += each.gatheredBytes
      each.store()
    }
  }
}

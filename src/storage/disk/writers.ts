/** The writers at work: asked now and then about slow bytes, stopped together, within one memory and in turn. */
import type { Readable } from 'node:stream'
import { ReadingTurns } from '../reading-turns.ts'
import type { Written } from '../staging.ts'
import { type Progress, Writer, type WriterOptions } from './writer.ts'

/** How often writers are asked whether slow bytes have waited long enough. */
const LOOK_EVERY_MS = 100

export class Writers {
  readonly #running = new Set<Writer>()
  readonly #memory = { held: 0 }
  readonly #turns = new ReadingTurns()
  #ticker: NodeJS.Timeout | undefined
  #stopped = false

  /** Writes what the source brings; resolves when it has ended, and all that came of it is written. */
  run(
    source: Readable,
    offset: number,
    progress: Progress,
    options: Omit<WriterOptions, 'memory' | 'turns'>,
  ): Promise<Written> {
    const writer = new Writer(source, offset, progress, { ...options, memory: this.#memory, turns: this.#turns })
    this.#track(writer)
    if (this.#stopped) writer.stop()
    return writer.done.finally(() => this.#untrack(writer))
  }

  /** Ends every one, and each that begins from now on. */
  stop(): void {
    this.#stopped = true
    for (const writer of this.#running) writer.stop()
  }

  #track(writer: Writer) {
    this.#running.add(writer)
    this.#ticker ??= setInterval(() => {
      const now = performance.now()
      for (const each of this.#running) each.tick(now)
    }, LOOK_EVERY_MS)
  }

  #untrack(writer: Writer) {
    this.#running.delete(writer)
    if (this.#running.size > 0) return
    clearInterval(this.#ticker)
    this.#ticker = undefined
  }
}

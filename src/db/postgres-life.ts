/**
 * The life of an instance as the others see it: a session with PostgreSQL that holds an advisory lock under a random
 * number. While the lock is held, the instance lives; however the process ends, PostgreSQL gives the lock back.
 *
 * Words from other instances come over the same session. It speaks every few seconds, and PostgreSQL ends it when it has
 * been silent for longer (`idle_session_timeout`): of an instance that is frozen or cut off, the session would otherwise
 * stay for as long as TCP has hope. A life that is lost is followed by another one, under another number.
 */
import { randomInt } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'

/** PostgreSQL ends a session that has been silent for so long; it speaks three times as often. */
export const SILENT_AT_MOST_MS = 15_000
const FAREWELL_MS = 1_000
const RETRY_AFTER_MS = 100
const RETRY_AFTER_AT_MOST_MS = 2_000
/** As many bits as `randomInt` gives: a JavaScript number holds them, also where a driver reads 64-bit integers as one. */
const NUMBERS = 2 ** 48 - 1

/** The channel on which the instance with this number listens. */
export const channelOf = (number: string) => `call_recordings_${number}`

interface Parts {
  /** A connection of its own, not made yet. Must have `pipeline` and a `query_timeout`. */
  session: () => pg.Client
  /** Told when a life is lost; another one is on its way. */
  onLost: (error: unknown) => void
  silentAtMostMs: number
}

interface Listener {
  /** Told what other instances say. */
  onWord: (word: string) => void
  /** Told when a life has begun, the first one and each that follows. */
  onBegun: () => void
}

interface Session {
  readonly client: pg.Client
  readonly leads: Set<string>
}

export class Life {
  readonly #parts: Parts
  #listener: Listener = { onWord: () => {}, onBegun: () => {} }
  #number = ''
  #session: Session | undefined
  #speaking: NodeJS.Timeout | undefined
  readonly #ended = new AbortController()

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /** Once. @throws when PostgreSQL can't be reached */
  async begin(listener: Listener): Promise<void> {
    this.#listener = listener
    await this.#begin()
  }

  /** The number of the present life, or of the last one while the next is on its way. */
  get number(): string {
    return this.#number
  }

  /** Whether this instance has the lead; it has it until its life ends. */
  async leads(what: string): Promise<boolean> {
    const session = this.#session
    if (!session) return false
    if (session.leads.has(what)) return true
    // Services that share a database and have a schema each do not share the lead.
    const text = `select pg_try_advisory_lock(hashtextextended('call-recordings ' || current_schema() || ' ' || $1::text, 0)) as has`
    const { rows } = await session.client.query<{ has: boolean }>(text, [what]).catch(() => ({ rows: [] }))
    if (rows[0]?.has) session.leads.add(what)
    return this.#session === session && session.leads.has(what)
  }

  async end(): Promise<void> {
    this.#ended.abort()
    clearInterval(this.#speaking)
    const session = this.#session
    this.#session = undefined
    if (session) await ended(session.client)
  }

  async #begin(): Promise<void> {
    const { session, silentAtMostMs } = this.#parts
    const client = session()
    // Each loss ends in `end`, which is what counts; it is told of by the query that fails, or by this.
    let fault: unknown
    client.on('error', (error) => {
      fault = error
    })
    client.on('notification', ({ payload }) => this.#listener.onWord(payload ?? ''))
    const number = String(randomInt(1, NUMBERS))
    try {
      await client.connect()
      await client.query(`set idle_session_timeout = ${silentAtMostMs}`)
      await client.query('select pg_advisory_lock($1::bigint)', [number])
      await client.query(`listen ${channelOf(number)}`)
    } catch (error) {
      void ended(client)
      throw error
    }
    if (this.#ended.signal.aborted) return ended(client)
    const mine = { client, leads: new Set<string>() }
    this.#session = mine
    this.#number = number
    // A session that gets no answer breaks itself off.
    this.#speaking = setInterval(() => client.query('select 1').catch(() => {}), silentAtMostMs / 3).unref()
    client.on('end', () => this.#lost(mine, fault))
    this.#listener.onBegun()
  }

  #lost(session: Session, fault: unknown): void {
    if (this.#session !== session) return
    clearInterval(this.#speaking)
    this.#session = undefined
    this.#parts.onLost(fault)
    void this.#beginAgain()
  }

  async #beginAgain(): Promise<void> {
    const { signal } = this.#ended
    for (let waitMs = RETRY_AFTER_MS; !signal.aborted; waitMs = Math.min(2 * waitMs, RETRY_AFTER_AT_MOST_MS)) {
      try {
        return await this.#begin()
      } catch {
        await sleep(waitMs * (0.5 + Math.random()), undefined, { signal, ref: false }).catch(() => {})
      }
    }
  }
}

/** On a line that has been cut, a farewell has no answer. */
async function ended(client: pg.Client): Promise<void> {
  await Promise.race([client.end().catch(() => {}), sleep(FAREWELL_MS, undefined, { ref: false })])
}

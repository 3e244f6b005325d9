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
const ANSWER_WITHIN_MS = 5_000
const FAREWELL_MS = 1_000
const RETRY_AFTER_MS = 100
const RETRY_AFTER_AT_MOST_MS = 2_000
/** As many bits as `randomInt` gives: a JavaScript number holds them, also where a driver reads 64-bit integers as one. */
const NUMBERS = 2 ** 48 - 1

const LEAD_KEY = `hashtextextended('call-recordings ' || $1::text, 0)`
const LEAD = `select pg_try_advisory_lock(${LEAD_KEY}) as has`
/** Whether an instance has the lead; it is not taken for longer than it takes to ask. */
export const IS_LED = `select not pg_try_advisory_xact_lock_shared(${LEAD_KEY}) as led`

/** The channel on which the instance with this number listens. */
export const channelOf = (number: string) => `call_recordings_${number}`

interface Parts {
  /** A connection of its own, not made yet. */
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
  /** A session has one query at a time. */
  turn: Promise<unknown>
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
    const { rows } = await ask(session, LEAD, [what]).catch(() => ({ rows: [] }))
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
    const { silentAtMostMs } = this.#parts
    const client = this.#parts.session()
    const session: Session = { client, leads: new Set(), turn: Promise.resolve() }
    // Each loss comes to `end`, which is what counts.
    let fault: unknown
    client.on('error', (error) => {
      fault = error
    })
    client.on('notification', ({ payload }) => this.#listener.onWord(payload ?? ''))
    const number = String(randomInt(1, NUMBERS))
    try {
      await client.connect()
      await ask(session, `set idle_session_timeout = ${silentAtMostMs}`)
      await ask(session, 'select pg_advisory_lock($1::bigint)', [number])
      await ask(session, `listen ${channelOf(number)}`)
    } catch (error) {
      void ended(client)
      throw error
    }
    if (this.#ended.signal.aborted) return ended(client)
    this.#session = session
    this.#number = number
    this.#speaking = setInterval(() => ask(session, 'select 1').catch(() => {}), silentAtMostMs / 3).unref()
    client.on('end', () => this.#lost(session, fault))
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

/** @throws when there is no answer in time; the session is over then */
function ask(session: Session, text: string, values: unknown[] = []): Promise<pg.QueryResult> {
  const { client } = session
  const answer = session.turn.then(() => {
    // With a query under way, `end` breaks the connection off.
    const timer = setTimeout(() => client.end(), ANSWER_WITHIN_MS)
    return client.query(text, values).finally(() => clearTimeout(timer))
  })
  session.turn = answer.catch(() => {})
  return answer
}

/** On a line that has been cut, a farewell has no answer. */
async function ended(client: pg.Client): Promise<void> {
  await Promise.race([client.end().catch(() => {}), sleep(FAREWELL_MS, undefined, { ref: false })])
}

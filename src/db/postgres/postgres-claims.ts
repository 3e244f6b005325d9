/**
 * Claims over PostgreSQL: a row for each upload that an instance works on, in a table that is not logged. It is empty after
 * a crash of PostgreSQL, which is right: what the claims were for is over then.
 *
 * Nobody polls. An upload that nobody holds costs one insert. Who finds another holder asks whether that one's instance
 * lives (`life.ts`), and if so sends it a word and sleeps until the answer or the end of its patience. Words are
 * sent only where somebody is in the way, and never in a transaction that has other work: NOTIFY takes a lock over all
 * databases until its transaction has ended.
 *
 * Safety does not rest on any of this: see `../claims.ts`.
 */
import { randomUUID } from 'node:crypto'
import { and, eq, notExists, sql } from 'drizzle-orm'
import { ServiceError } from '../../errors.ts'
import type { Claim, ClaimCounts, Claims } from '../claims.ts'
import { kept, returning } from '../database.ts'
import { sqliteKit } from '../kit.ts'
import { uploads } from '../schema.ts'
import { channelOf, Life, SILENT_AT_MOST_MS } from './life.ts'
import type { PostgresDatabase } from './postgres.ts'

/** A living instance has so long to store what it has and to let go. */
const PATIENCE_MS = 700
/** Of one that was killed just now, PostgreSQL may not have heard yet: it is looked at once more after so long. */
const LOOK_AGAIN_AFTER_MS = 100
/** How long a request waits for its turn among instances before it is told 423. */
const WAIT_MS = 5_000
/** How often rows are looked for that were left behind. */
const TIDY_EVERY_MS = 30_000
/** A row of this life that is younger may be one that is being taken just now. */
const TAKEN_WITHIN_MS = 10_000
/** Of a dead instance: whoever still wants its uploads has taken them by then. */
const LEFT_FOR_MS = 60_000

interface Parts {
  db: Pick<PostgresDatabase, 'query' | 'session'>
  /** The session was lost by which others know that this instance lives; another one is on its way. */
  onLost?: (error: unknown) => void
  /** An instance that PostgreSQL has not heard of for so long is dead; tests have no time. */
  silentAtMostMs?: number
}

const { table, text } = sqliteKit
const claims = table('claims', { uploadId: text('upload_id').primaryKey(), nonce: text().notNull() })
const gone = kept((orm) =>
  orm
    .delete(claims)
    .where(and(eq(claims.uploadId, sql.placeholder('uploadId')), eq(claims.nonce, sql.placeholder('nonce'))))
    .returning({ nonce: claims.nonce }),
)

const NOW_MS = '(extract(epoch from clock_timestamp()) * 1000)::bigint'
/** Succeeds on a number that nobody lives under, and gives the lock back at once. */
const IS_DEAD = 'pg_try_advisory_xact_lock_shared((instance::text)::bigint)'

const INSERT = `insert into claims (upload_id, instance, nonce, since_ms) values ($1, $2, $3, ${NOW_MS})
  on conflict do nothing`
const HOLDER = `select instance::text as instance, nonce, ${IS_DEAD} as "isDead" from claims where upload_id = $1`
const SEIZE = `update claims set instance = $1, nonce = $2, since_ms = ${NOW_MS} where upload_id = $3 and nonce = $4`
const REMOVE = 'delete from claims where upload_id = $1 and nonce = $2'
const REMOVE_AND_TELL = `with gone as (${REMOVE}) select pg_notify(channel, $3) from unnest($4::text[]) as channel`
const TELL = 'select pg_notify(channel, $1) from unnest($2::text[]) as channel'
const RENEW = `insert into claims (upload_id, instance, nonce, since_ms)
  select upload_id, $1, nonce, ${NOW_MS} from unnest($2::text[], $3::text[]) as mine (upload_id, nonce)
  on conflict (upload_id) do update set instance = excluded.instance where claims.nonce = excluded.nonce`
const TIDY_MINE = `delete from claims where nonce <> all($1::text[])
  and (instance = any($2::text[]) or (instance = $3 and since_ms < ${NOW_MS} - $4::bigint))`
const TIDY_DEAD = `delete from claims where since_ms < ${NOW_MS} - $1::bigint and ${IS_DEAD}`

/** A claim that this process holds, or is about to. */
interface Mine {
  readonly uploadId: string
  readonly nonce: string
  readonly letGo: () => void
  /** The instances that wait for it. */
  readonly asked: Set<string>
}

interface Holder {
  instance: string
  nonce: string
  isDead: boolean
}

/** What instances say to each other; neither ids nor numbers have spaces. */
const askFor = (uploadId: string, nonce: string, by: string) => `ask ${uploadId} ${nonce} ${by}`
const isFree = (uploadId: string) => `free ${uploadId}`

/** @throws when PostgreSQL can't be reached */
export async function openClaims(parts: Parts): Promise<Claims> {
  const { db, onLost = () => {}, silentAtMostMs = SILENT_AT_MOST_MS } = parts
  const life = new Life({ session: () => db.session(), onLost, silentAtMostMs })
  const opened = new PostgresClaims(db, life)
  await life.begin({ onWord: (word) => opened.hear(word), onBegun: () => opened.renew() })
  return opened
}

class PostgresClaims implements Claims {
  readonly unclaimed = notExists(sql`(select from ${claims} where ${claims.uploadId} = ${uploads.id})`)
  readonly counts: ClaimCounts = { waitedFor: 0, takenOver: 0 }
  readonly #db: Parts['db']
  readonly #life: Life
  /** By nonce: a row of ours with any other one was left behind. */
  readonly #mine = new Map<string, Mine>()
  /** What wakes those who wait for an upload. */
  readonly #waiting = new Map<string, Set<() => void>>()
  /** The number of this life, and those of earlier ones that may have left rows behind. */
  #number = ''
  readonly #earlier = new Set<string>()
  /** Ends that are on their way. */
  readonly #ending = new Set<Promise<void>>()
  #tidyAtMs = performance.now() + TIDY_EVERY_MS

  constructor(db: Parts['db'], life: Life) {
    this.#db = db
    this.#life = life
  }

  async take(uploadId: string, signal: AbortSignal, letGo: () => void): Promise<Claim> {
    const mine: Mine = { uploadId, nonce: randomUUID(), letGo, asked: new Set() }
    // Before its row is there, so that none of ours is ever taken for one that was left behind.
    this.#mine.set(mine.nonce, mine)
    try {
      await this.#get(mine, signal)
    } catch (error) {
      this.#mine.delete(mine.nonce)
      throw error
    }
    return this.#claim(mine)
  }

  async isHeld(uploadId: string): Promise<boolean> {
    const holder = await this.#holderOf(uploadId)
    return holder !== undefined && !this.#isNobodys(holder)
  }

  async leads(what: 'sweep'): Promise<boolean> {
    const isLeading = await this.#life.leads(what)
    if (performance.now() > this.#tidyAtMs) await this.#tidy(isLeading)
    return isLeading
  }

  async close(): Promise<void> {
    await Promise.all(this.#ending)
    await this.#life.end()
  }

  /** What another instance says. */
  hear(word: string): void {
    const [kind, uploadId = '', nonce = '', by = ''] = word.split(' ')
    if (kind === 'free') for (const wake of this.#waiting.get(uploadId) ?? []) wake()
    else if (kind === 'ask') this.#asked(uploadId, nonce, by)
  }

  /** A life has begun: what this process holds goes on under it, also where PostgreSQL has forgotten it in a crash. */
  renew(): void {
    if (this.#number) this.#earlier.add(this.#number)
    this.#number = this.#life.number
    // Until it is done they look like a dead instance's.
    this.#renew().catch(() => {})
  }

  /** What this process holds is of this life; what it holds no more, and could not remove, goes. */
  async #renew(): Promise<void> {
    const mine = [...this.#mine.values()]
    const nonces = mine.map(({ nonce }) => nonce)
    if (mine.length > 0) await this.#change(RENEW, [this.#number, mine.map(({ uploadId }) => uploadId), nonces])
    const earlier = [...this.#earlier]
    await this.#change(TIDY_MINE, [nonces, earlier, this.#number, TAKEN_WITHIN_MS])
    for (const number of earlier) this.#earlier.delete(number)
  }

  #asked(uploadId: string, nonce: string, by: string): void {
    const mine = this.#mine.get(nonce)
    if (!mine) {
      // It ended a moment ago, or its row was left behind.
      void this.#remove(uploadId, nonce, [by])
      return
    }
    const isFirst = mine.asked.size === 0
    mine.asked.add(by)
    if (isFirst) mine.letGo()
  }

  #claim(mine: Mine): Claim {
    const { uploadId, nonce } = mine
    let isEnded = false
    return {
      nonce,
      // Told when the transaction is committed, and not before.
      ended: () => [
        returning(gone, { uploadId, nonce }, () => {
          isEnded = true
        }),
      ],
      release: () => this.#release(mine, isEnded),
    }
  }

  async #release({ uploadId, nonce, asked }: Mine, isEnded: boolean): Promise<void> {
    if (!this.#mine.delete(nonce) || (isEnded && asked.size === 0)) return
    const end = isEnded
      ? this.#tell([...asked], isFree(uploadId)).catch(() => {})
      : this.#remove(uploadId, nonce, [...asked])
    this.#ending.add(end)
    await end
    this.#ending.delete(end)
  }

  async #get(mine: Mine, signal: AbortSignal): Promise<void> {
    const { uploadId, nonce } = mine
    const deadlineMs = performance.now() + WAIT_MS
    let asked = { nonce: '', untilMs: 0, lookMs: 0 }
    let hasWaited = false
    for (;;) {
      if (signal.aborted) throw locked('The request ended while it waited for the upload.')
      if (await this.#change(INSERT, [uploadId, this.#life.number, nonce], 'claim')) return
      const holder = await this.#holderOf(uploadId)
      // The insert went well, and its answer was lost.
      if (holder?.nonce === nonce) return
      if (!holder) continue
      const nowMs = performance.now()
      if (nowMs >= deadlineMs) throw locked('Another request is writing to this upload; try again shortly.')
      // Each holder is asked for itself.
      if (holder.nonce === asked.nonce) asked.lookMs = PATIENCE_MS
      else asked = { nonce: holder.nonce, untilMs: nowMs + PATIENCE_MS, lookMs: LOOK_AGAIN_AFTER_MS }
      if (nowMs < asked.untilMs && !this.#isNobodys(holder)) {
        if (!hasWaited) this.counts.waitedFor += 1
        hasWaited = true
        const waitMs = Math.min(asked.lookMs, asked.untilMs - nowMs, deadlineMs - nowMs)
        await this.#freed(uploadId, holder, waitMs, signal)
      } else if (await this.#change(SEIZE, [this.#life.number, nonce, uploadId, holder.nonce])) {
        this.counts.takenOver += 1
        return
      }
    }
  }

  async #holderOf(uploadId: string): Promise<Holder | undefined> {
    const { rows } = await this.#db.query({ text: HOLDER, values: [uploadId] })
    return rows[0] as Holder | undefined
  }

  /** A dead instance's, or one of ours that was left behind. */
  #isNobodys({ instance, nonce, isDead }: Holder): boolean {
    return isDead || (instance === this.#life.number && !this.#mine.has(nonce))
  }

  /** Asks the holder to let go, and sleeps until it has, or for so long. */
  async #freed(uploadId: string, holder: Holder, waitMs: number, signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const woken = () => resolve()
    const timer = setTimeout(woken, waitMs)
    const waiting = this.#waiting.get(uploadId) ?? new Set()
    this.#waiting.set(uploadId, waiting.add(woken))
    signal.addEventListener('abort', woken, { once: true })
    try {
      await this.#tell([holder.instance], askFor(uploadId, holder.nonce, this.#life.number))
      await promise
    } finally {
      clearTimeout(timer)
      signal.removeEventListener('abort', woken)
      waiting.delete(woken)
      if (waiting.size === 0 && this.#waiting.get(uploadId) === waiting) this.#waiting.delete(uploadId)
    }
  }

  /** The row goes, if it is still this one, and those who wait are told. What fails leaves it behind. */
  async #remove(uploadId: string, nonce: string, tell: readonly string[]): Promise<void> {
    const removed =
      tell.length === 0
        ? this.#change(REMOVE, [uploadId, nonce], 'unclaim')
        : this.#change(REMOVE_AND_TELL, [uploadId, nonce, isFree(uploadId), tell.map(channelOf)])
    await removed.catch(() => {})
  }

  /** Rows whose end was lost go: those of this life, and, by one instance for all, those of the dead. */
  async #tidy(isLeading: boolean): Promise<void> {
    this.#tidyAtMs = performance.now() + TIDY_EVERY_MS
    await this.#renew()
    if (isLeading) await this.#change(TIDY_DEAD, [LEFT_FOR_MS])
  }

  async #tell(instances: readonly string[], word: string): Promise<void> {
    await this.#change(TELL, [word, instances.map(channelOf)])
  }

  async #change(text: string, values: unknown[], name?: string): Promise<number> {
    return (await this.#db.query({ ...(name && { name }), text, values })).rowCount ?? 0
  }
}

const locked = (sentence: string) => new ServiceError('upload_locked', sentence, { headers: { 'Retry-After': '1' } })

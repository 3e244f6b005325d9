/**
 * Connections: a pool of those that one transaction has to itself, and a few that reads share. What is sent on one is sent at
 * once, behind what waits for its answer there already.
 *
 * An answer that does not come ends its connection, and with it whatever else waits on it.
 */
import { drizzle } from 'drizzle-orm/node-postgres'
import pg from 'pg'
import type { Orm, Query, Values } from '../database.ts'
import { type DeadlineMs, isPassing, msUntil, Silence } from './postgres-faults.ts'

export interface ConnectionOptions {
  url: { readonly text: string }
  /** Those for transactions. */
  connections: number
  /** Those that reads share. */
  readConnections: number
  statementTimeoutMs: number
}

/** What is prepared on one connection. */
interface Prepared {
  execute(values?: Values): Promise<unknown>
}

export interface Connection {
  readonly client: pg.ClientBase
  prepared(query: Query): Prepared
}

/** An instance that nobody uses keeps its connections for so long. */
const IDLE_MS = 300_000
/** The server cancels a statement by itself; one that says nothing for so much longer is not there. */
const GRACE_MS = 500

/** A connection that a transaction has had, or will: it stays the same object as long as the connection lasts. */
export type Owned = Connection & { readonly client: pg.PoolClient }

export class Connections {
  readonly #pool: pg.Pool
  readonly #owned = new WeakMap<pg.PoolClient, Owned>()
  readonly #shared: Shared[]
  readonly #settings: pg.ClientConfig
  readonly #timeoutMs: number

  constructor({ url, connections, readConnections, statementTimeoutMs }: ConnectionOptions) {
    this.#timeoutMs = statementTimeoutMs
    // The types of the driver do not know `pipeline` yet.
    const settings = {
      connectionString: url.text,
      application_name: 'call-recordings',
      connectionTimeoutMillis: statementTimeoutMs,
      statement_timeout: statementTimeoutMs,
      idle_in_transaction_session_timeout: statementTimeoutMs,
      keepAlive: true,
      pipeline: true,
    } satisfies pg.ClientConfig & { pipeline: boolean }
    this.#settings = settings
    this.#pool = new pg.Pool({ ...settings, max: connections, idleTimeoutMillis: IDLE_MS })
    // One that is lost while nobody uses it is replaced by the next use.
    this.#pool.on('error', () => {})
    this.#shared = Array.from({ length: readConnections }, () => new Shared(settings))
  }

  /** When a work that begins now must be over. */
  deadlineMs(): DeadlineMs {
    return performance.now() + this.#timeoutMs
  }

  /** A connection that nobody else uses meanwhile. */
  async own<T>(deadlineMs: DeadlineMs, work: (connection: Owned) => Promise<T>): Promise<T> {
    const client = await this.#connect(deadlineMs)
    const connection = this.#owned.get(client) ?? connectionOf(client)
    this.#owned.set(client, connection)
    let fault: unknown
    try {
      return await unlessSilent(client, deadlineMs, work(connection))
    } catch (error) {
      fault = error
      throw error
    } finally {
      client.release(isPassing(fault))
    }
  }

  /** One of those that reads share. */
  async share<T>(deadlineMs: DeadlineMs, work: (connection: Connection) => Promise<T>): Promise<T> {
    let least = this.#shared[0] as Shared
    for (const each of this.#shared) if (each.waiting < least.waiting) least = each
    return least.use(deadlineMs, work)
  }

  /** A connection of its own for a long time, not made yet: without the limits that statements have. */
  session(): pg.Client {
    const { connectionString, application_name, connectionTimeoutMillis, keepAlive } = this.#settings
    return new pg.Client({ connectionString, application_name, connectionTimeoutMillis, keepAlive })
  }

  async end(): Promise<void> {
    await Promise.all([this.#pool.end(), ...this.#shared.map((each) => each.end())])
  }

  #connect(deadlineMs: DeadlineMs): Promise<pg.PoolClient> {
    return new Promise((resolve, reject) => {
      let isLate = false
      const timer = setTimeout(() => {
        isLate = true
        reject(new Silence('no connection to PostgreSQL could be had in time'))
      }, msUntil(deadlineMs))
      this.#pool.connect((error, client, release) => {
        clearTimeout(timer)
        if (isLate) release()
        else if (error || !client) reject(error)
        else resolve(client)
      })
    })
  }
}

/** One connection for many reads; made by the first of them, and again after it is lost. */
class Shared {
  readonly #settings: pg.ClientConfig
  #made: Promise<Connection> | undefined
  waiting = 0

  constructor(settings: pg.ClientConfig) {
    this.#settings = settings
  }

  async use<T>(deadlineMs: DeadlineMs, work: (connection: Connection) => Promise<T>): Promise<T> {
    this.waiting += 1
    try {
      this.#made ??= this.#make()
      const connection = await this.#made
      return await unlessSilent(connection.client, deadlineMs, work(connection))
    } finally {
      this.waiting -= 1
    }
  }

  async #make(): Promise<Connection> {
    const client = new pg.Client(this.#settings)
    const forget = () => {
      this.#made = undefined
    }
    client.on('error', forget)
    client.on('end', forget)
    try {
      await client.connect()
    } catch (error) {
      forget()
      throw error
    }
    return connectionOf(client)
  }

  async end(): Promise<void> {
    const connection = await this.#made?.catch(() => undefined)
    await (connection?.client as pg.Client | undefined)?.end()
  }
}

/** Ends the connection when the work has not been answered a while after the server should have given it up by itself. */
async function unlessSilent<T>(client: pg.ClientBase, deadlineMs: DeadlineMs, work: Promise<T>): Promise<T> {
  const timer = setTimeout(() => cut(client), msUntil(deadlineMs) + GRACE_MS)
  try {
    return await work
  } finally {
    clearTimeout(timer)
  }
}

/** All that waits on it is rejected. The driver has no name for it: its own end() waits for the answers. */
function cut(client: pg.ClientBase): void {
  const { stream } = (client as unknown as { connection: { stream: { destroy(error: Error): void } } }).connection
  stream.destroy(new Silence('PostgreSQL does not answer'))
}

function connectionOf<Client extends pg.ClientBase>(client: Client): Connection & { client: Client } {
  // What is lost under way is told to who waits for it; without a listener the process would end.
  client.on('error', () => {})
  const orm = drizzle(client as unknown as pg.Client) as unknown as Orm
  const known = new WeakMap<Query, Prepared>()
  let names = 0
  return {
    client,
    prepared(query) {
      const before = known.get(query)
      if (before) return before
      const builder = query.build(orm) as unknown as { prepare(name?: string): Prepared }
      // Only what is prepared for good has a name: PostgreSQL keeps each until the connection ends.
      const prepared = builder.prepare(query.isKept ? `kept_${++names}` : undefined)
      if (query.isKept) known.set(query, prepared)
      return prepared
    },
  }
}

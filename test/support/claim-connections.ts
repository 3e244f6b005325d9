/** What claims need of the database, also in a process that runs no tests. */
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import type { Connections } from '../../src/db/postgres-claims.ts'

const DEADLINE_MS = 4_000
const RETRY_EVERY_MS = 50

/** Two connections of a pool, and sessions. */
export function connectionsTo(url: string): { connections: Connections; close(): Promise<void> } {
  const settings = { connectionString: url, pipeline: true, connectionTimeoutMillis: DEADLINE_MS }
  const pool = new pg.Pool({ ...settings, max: 2 })
  pool.on('error', () => {})
  return {
    connections: {
      async query(statement) {
        const deadlineMs = performance.now() + DEADLINE_MS
        for (;;) {
          try {
            return await pool.query(statement)
          } catch (error) {
            if (performance.now() > deadlineMs) throw error
          }
          await sleep(RETRY_EVERY_MS)
        }
      },
      session: () => new pg.Client({ ...settings, query_timeout: 5_000 }),
    },
    close: () => pool.end(),
  }
}

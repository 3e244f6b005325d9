/** What instances share: the database, the claims on uploads, and the time; opened in order and closed in reverse. */
import type { Clock } from '../../clock.ts'
import type { Claims } from '../claims.ts'
import type { Database } from '../database.ts'
import type { ConnectionOptions } from './connections.ts'
import { openClock } from './database-clock.ts'
import { openPostgres } from './postgres.ts'
import { openClaims } from './postgres-claims.ts'

export interface Shared {
  db: Database
  claims: Claims
  clock: Clock
  close(): Promise<void>
}

/**
 * @param onLost the session was lost by which other instances know that this one lives; another one is on its way
 * @throws ServiceError `busy` when PostgreSQL can't be reached
 */
export async function openShared(options: ConnectionOptions, onLost: (error: unknown) => void): Promise<Shared> {
  const db = await openPostgres(options)
  try {
    const claims = await openClaims({ db, onLost })
    const clock = await openClock(db)
    return {
      db,
      claims,
      clock,
      async close() {
        clock.close()
        await claims.close()
        await db.close()
      },
    }
  } catch (error) {
    await db.close()
    throw error
  }
}

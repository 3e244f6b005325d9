/** Drizzle over a connection that lasts as long as one query. */
import { drizzle, type NodePgDatabase } from 'drizzle-orm/node-postgres'
import pg from 'pg'
import * as schema from '../../src/db/postgres/postgres-schema.ts'

export async function tablesIn<T>(
  url: string,
  ask: (tables: NodePgDatabase<typeof schema>) => PromiseLike<T>,
): Promise<T> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return await ask(drizzle(client, { schema }))
  } finally {
    await client.end()
  }
}

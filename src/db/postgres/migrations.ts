/**
 * The tables brought up to date at a start. Any number of instances may start at once: one at a time looks, and the first
 * has done it all. Instances of the version before go on meanwhile, since within a release tables are only added to.
 */
import { drizzle } from 'drizzle-orm/node-postgres'
import { migrate } from 'drizzle-orm/node-postgres/migrator'
import type pg from 'pg'
import { drizzleFolder } from '../drizzle-folder.ts'
import { assertVersion } from '../tables-version.ts'
import type { PostgresDatabase } from './postgres.ts'

const migrationsFolder = drizzleFolder('postgres')
/** The same in all versions. */
const LOCK = 7_238_412_901

/** @param client not connected yet; ended when it returns */
export async function bringUpToDate(client: pg.Client): Promise<void> {
  client.on('error', () => {})
  try {
    await client.connect()
    const { rows } = await client.query<{ server_encoding: string }>('show server_encoding')
    const encoding = rows[0]?.server_encoding
    if (encoding !== 'UTF8') throw new Error(`the database's encoding is ${encoding}: it has to be made with UTF8`)
    // Given back when the session ends, however it ends. Drizzle's migrator takes none.
    await client.query('select pg_advisory_lock($1)', [LOCK])
    await migrate(drizzle(client), { migrationsFolder })
  } finally {
    await client.end().catch(() => {})
  }
}

const NEWEST = 'select max(created_at) as applied from drizzle.__drizzle_migrations'
const UNDEFINED_TABLE = '42P01'

/**
 * For who reads alone. Where there are no tables of ours at all, the first look at one of them says so.
 *
 * @throws a sentence for the operator when the tables are not those of this version
 */
export async function assertCurrent(db: Pick<PostgresDatabase, 'query'>, name: string): Promise<void> {
  const applied = await db.query({ text: NEWEST, values: [] }).then(
    ({ rows }) => Number(rows[0]?.applied),
    (error: Error) => {
      if ((error.cause as { code?: string } | undefined)?.code === UNDEFINED_TABLE) return undefined
      throw error
    },
  )
  if (applied !== undefined) assertVersion(applied, migrationsFolder, name)
}

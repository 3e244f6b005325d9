/**
 * The tables as PostgreSQL has them: those of `../schema.ts`, and some of its own. Migrations are generated from here; queries
 * are made with the tables of `../schema.ts`, of which only names get into their SQL.
 */
import { sql } from 'drizzle-orm'
import { bigint, pgTable, timestamp } from 'drizzle-orm/pg-core'
import { tables } from '../schema.ts'
import { kit, postgresKit } from './postgres-kit.ts'

export const { leads, leadTotals, callLogs, uploads, chunks, recordings, tombstones, segments, attempts } = tables(kit)

const { text } = postgresKit

/** Which instance works on an upload just now. Not logged, so that it is empty after a crash of PostgreSQL. */
export const claims = pgTable('claims', {
  uploadId: text('upload_id').primaryKey(),
  instance: text().notNull(),
  /** Told apart from every other claim, also of the same instance. */
  nonce: text().notNull(),
  sinceMs: bigint('since_ms', { mode: 'number' }).notNull(),
})

/** What each connection has committed last: a commit whose answer was lost is looked up here. */
export const transactions = pgTable('transactions', {
  connection: text().primaryKey(),
  number: bigint({ mode: 'number' }).notNull(),
  at: timestamp({ withTimezone: true }).notNull().default(sql`now()`),
})

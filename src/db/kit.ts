/**
 * The columns that tables are declared with, as SQLite has them: counts of bytes and milliseconds are integers of 64 bits,
 * seconds are floating-point numbers, what is true or false is an integer. Another dialect brings the same names.
 */
import { index, integer, primaryKey, real, sqliteTable, text, uniqueIndex } from 'drizzle-orm/sqlite-core'

export const sqliteKit = { table: sqliteTable, text, integer, real, index, uniqueIndex, primaryKey }

export type Kit = typeof sqliteKit

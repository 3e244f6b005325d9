/** Text in a column, wherever it stands; letters of ASCII are the same in either case, in both databases. */
import { type SQL, type SQLWrapper, sql } from 'drizzle-orm'

const asciiLower = (text: string) => text.replace(/[A-Z]/g, (letter) => letter.toLowerCase())

export const holding = (column: SQLWrapper, text: string): SQL =>
  sql`lower(${column}) like ${`%${asciiLower(text).replace(/[\\%_]/g, '\\$&')}%`} escape '\\'`

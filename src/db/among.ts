/** Which of many are there: the question that a walk through a store asks the tables, some at a time. */
import { inArray } from 'drizzle-orm'
import type { AnySQLiteColumn } from 'drizzle-orm/sqlite-core'
import { once, type Reading } from './database.ts'

/** Those of the texts that the column has in some row. */
export const textsAmong = async (
  db: Reading,
  column: AnySQLiteColumn<{ data: string }>,
  among: readonly string[],
): Promise<string[]> => {
  const rows = await db.all(
    once((orm) =>
      orm
        .select({ text: column })
        .from(column.table)
        .where(inArray(column, [...among])),
    ),
  )
  return rows.flatMap(({ text }) => (text as string | null) ?? [])
}

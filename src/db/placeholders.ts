/** A table's row as placeholders, one for each column, by its name in the code. */
import { getTableColumns, type Placeholder, sql, type Table } from 'drizzle-orm'

export const rowOf = <T extends Table>(table: T): Record<keyof T['$inferSelect'] & string, Placeholder> =>
  Object.fromEntries(Object.keys(getTableColumns(table)).map((name) => [name, sql.placeholder(name)])) as Record<
    keyof T['$inferSelect'] & string,
    Placeholder
  >

/** A placeholder where a column's value is set: Drizzle takes it there as SQL alone. */
export const set = (name: string) => sql`${sql.placeholder(name)}`

/** A table's row as placeholders, one for each column, by its name in the code. */
import { getTableColumns, type Placeholder, type SQL, sql, type Table } from 'drizzle-orm'
import { type Builder, kept, type Orm } from './database.ts'

export const rowOf = <T extends Table>(table: T): Record<keyof T['$inferSelect'] & string, Placeholder> =>
  Object.fromEntries(Object.keys(getTableColumns(table)).map((name) => [name, sql.placeholder(name)])) as Record<
    keyof T['$inferSelect'] & string,
    Placeholder
  >

/** A placeholder where a column's value is set: Drizzle takes it there as SQL alone. */
export const set = (name: string) => sql`${sql.placeholder(name)}`

type Kept<B extends Builder> = ReturnType<typeof kept<B>>

/** Updates of some columns of a row: one for each set of columns that is given, prepared once. Undefined is not given. */
export function changesOf<B extends Builder>(build: (orm: Orm, values: Record<string, SQL>) => B) {
  const known = new Map<string, Kept<B>>()
  return (change: Readonly<Record<string, unknown>>): Kept<B> => {
    const names = Object.keys(change).filter((name) => change[name] !== undefined)
    const before = known.get(names.join())
    if (before) return before
    const values = Object.fromEntries(names.map((name) => [name, set(name)]))
    const query = kept((orm) => build(orm, values))
    known.set(names.join(), query)
    return query
  }
}

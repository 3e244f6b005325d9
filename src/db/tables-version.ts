/** Whether the tables of a database are those of this version: what only reads them brings nothing up to date. */
import { readMigrationFiles } from 'drizzle-orm/migrator'

/**
 * @param applied when the newest of the migrations that it has had was made
 * @param name of the database, for an operator
 * @throws a sentence for the operator
 */
export function assertVersion(applied: number, migrationsFolder: string, name: string): void {
  const newest = Math.max(...readMigrationFiles({ migrationsFolder }).map(({ folderMillis }) => folderMillis))
  if (applied < newest) {
    throw new Error(`${name} is of an older version of the service: start the server once, which brings it up to date`)
  }
  if (applied > newest) {
    throw new Error(`${name} is of a newer version of the service: run the commands of that version`)
  }
}

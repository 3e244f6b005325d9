/** SQLite's own files, opened; what keeps one from being opened names it, as errors of the file system do. */
import BetterSqlite3 from 'better-sqlite3'

/**
 * @param use what is done first: SQLite looks into a file no sooner
 * @throws an error with the file as its `path`
 */
export function opened(
  file: string,
  options: BetterSqlite3.Options,
  use: (sqlite: BetterSqlite3.Database) => void = () => {},
): BetterSqlite3.Database {
  let sqlite: BetterSqlite3.Database | undefined
  try {
    sqlite = new BetterSqlite3(file, options)
    use(sqlite)
    return sqlite
  } catch (error) {
    sqlite?.close()
    throw Object.assign(error as Error, { path: file })
  }
}

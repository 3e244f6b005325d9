/**
 * What the tests run over: SQLite, or PostgreSQL with `TEST_DATABASE=postgres npx vitest run test/…`. Each data directory has
 * a database of its own.
 */
const known = new Map<string, Promise<string>>()

export const isPostgres = process.env.TEST_DATABASE === 'postgres'

async function newDatabase(): Promise<string> {
  // No test but those over PostgreSQL loads any of it.
  const { postgres } = await import('./postgres.ts')
  return (await postgres()).database()
}

/** The address of a data directory's database; undefined for the file in it. */
export async function databaseUrlOf(dir: string): Promise<string | undefined> {
  if (!isPostgres) return undefined
  const url = known.get(dir) ?? newDatabase()
  known.set(dir, url)
  return url
}

/** The settings of a service over it. */
export async function homeOf(dir: string): Promise<Record<string, string>> {
  const url = await databaseUrlOf(dir)
  if (url === undefined) return {}
  return {
    RECORDINGS_DATABASE_URL: url,
    RECORDINGS_PLAYBACK_LINK_SECRET: 'a secret of the links, the same for all instances',
  }
}

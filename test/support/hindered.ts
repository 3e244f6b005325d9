/** A database in which something hinders the service, until it is told to go on. */
import path from 'node:path'
import BetterSqlite3 from 'better-sqlite3'
import { databaseUrlOf } from './home.ts'

interface Home {
  dir: string
}

/** Runs SQL over a connection of its own, which is kept until what it gives is called with more. */
async function saying(dir: string, { sqlite, postgres }: { sqlite: string; postgres: string }) {
  const url = await databaseUrlOf(dir)
  if (url === undefined) {
    const database = new BetterSqlite3(path.join(dir, 'recordings.db'))
    database.exec(sqlite)
    return async (last: { sqlite: string }) => {
      database.exec(last.sqlite)
      database.close()
    }
  }
  const { default: pg } = await import('pg')
  const client = new pg.Client(url)
  await client.connect()
  await client.query(postgres)
  return async (last: { postgres: string }) => {
    await client.query(last.postgres)
    await client.end()
  }
}

/** Another one has its hand on the tables: they can be read, and not written. @returns what takes it away */
export async function lockedTables({ dir }: Home): Promise<() => Promise<void>> {
  const tables = 'leads, call_logs, uploads, chunks, recordings, tombstones'
  const say = await saying(dir, {
    sqlite: 'BEGIN IMMEDIATE',
    postgres: `begin; lock table ${tables} in exclusive mode`,
  })
  return () => say({ sqlite: 'ROLLBACK', postgres: 'rollback' })
}

/** No recording can be recorded. @returns what lets it be again */
export async function refusedRecordings({ dir }: Home): Promise<() => Promise<void>> {
  const say = await saying(dir, {
    sqlite: `CREATE TRIGGER refuse BEFORE INSERT ON recordings BEGIN SELECT RAISE(ABORT, 'no'); END`,
    postgres: `create function refuse() returns trigger language plpgsql as $$ begin raise exception 'no'; end $$;
      create trigger refuse before insert on recordings for each row execute function refuse()`,
  })
  return () =>
    say({ sqlite: 'DROP TRIGGER refuse', postgres: 'drop trigger refuse on recordings; drop function refuse' })
}

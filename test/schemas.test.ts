/** The tables of the two databases, and the histories that make them. */
import { spawnSync } from 'node:child_process'
import { globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { getTableName, is, type Table } from 'drizzle-orm'
import { type PgTable, getTableConfig as postgresConfig } from 'drizzle-orm/pg-core'
import { type SQLiteTable, getTableConfig as sqliteConfig } from 'drizzle-orm/sqlite-core'
import { Table as AnyTable } from 'drizzle-orm/table'
import pg from 'pg'
import { describe, expect, expectTypeOf, test } from 'vitest'
import { sqliteKit } from '../src/db/kit.ts'
import { openPostgres } from '../src/db/postgres/postgres.ts'
import { postgresKit } from '../src/db/postgres/postgres-kit.ts'
import * as postgresSchema from '../src/db/postgres/postgres-schema.ts'
import * as sqliteSchema from '../src/db/schema.ts'
import { hasPostgres, postgres } from './support/postgres.ts'
import { NODE } from './support/process.ts'

/** Those that PostgreSQL has of its own. */
const OWN = ['claims', 'transactions']

const tablesOf = (schema: object): Map<string, Table> =>
  new Map(Object.values(schema).flatMap((each) => (is(each, AnyTable) ? [[getTableName(each), each]] : [])))
const sqlite = tablesOf(sqliteSchema)
const both = [...sqlite.keys()]

/** PostgreSQL's type for what SQLite's column holds. */
const TYPES: Record<string, string> = { text: 'text COLLATE "C"', integer: 'bigint', real: 'double precision' }

const shapeOf = (
  { columns, foreignKeys, indexes, primaryKeys }: ReturnType<typeof sqliteConfig> | ReturnType<typeof postgresConfig>,
  typeOf: (column: { getSQLType(): string; name: string }) => string,
) => ({
  columns: columns.map((column) => [column.name, typeOf(column), column.notNull, column.primary, column.default]),
  foreignKeys: foreignKeys.map((key) => {
    const { columns: from, foreignTable } = key.reference()
    return [from.map(({ name }) => name), getTableName(foreignTable), key.onDelete ?? 'no action']
  }),
  unique: indexes.flatMap(({ config }) => (config.unique ? [config.name] : [])),
  primaryKeys: primaryKeys.map((key) => key.columns.map(({ name }) => name)),
})

test('PostgreSQL has all tables that SQLite has, and a few of its own', () => {
  expect([...tablesOf(postgresSchema).keys()].sort()).toEqual([...both, ...OWN].sort())
})

test.for(both)('%s has the same columns, keys and promises in both', (name) => {
  const truth = new Set(['plays_in_browsers'])
  const ours = shapeOf(sqliteConfig(sqlite.get(name) as SQLiteTable), (column) =>
    truth.has(column.name) ? 'boolean' : (TYPES[column.getSQLType()] as string),
  )
  const theirs = shapeOf(postgresConfig(tablesOf(postgresSchema).get(name) as PgTable), (column) => column.getSQLType())
  expect(theirs).toEqual(ours)
})

test('a column holds the same kind of value, whichever kit has made it', () => {
  const sqliteTable = sqliteKit.table('t', {
    a: sqliteKit.text(),
    b: sqliteKit.integer(),
    c: sqliteKit.real(),
    d: sqliteKit.boolean(),
  })
  const postgresTable = postgresKit.table('t', {
    a: postgresKit.text(),
    b: postgresKit.integer(),
    c: postgresKit.real(),
    d: postgresKit.boolean(),
  })
  expectTypeOf<typeof postgresTable.$inferSelect>().toEqualTypeOf<typeof sqliteTable.$inferSelect>()
})

test.for([
  ['SQLite', 'drizzle.config.ts'],
  ['PostgreSQL', 'drizzle.postgres.config.ts'],
] as const)('the history of %s is that of its schema', ([, config]) => {
  const before = globSync('drizzle/**/*.{sql,json}').map((file) => [file, readFileSync(file, 'utf8')])
  const { stdout, stderr } = spawnSync('npx', ['drizzle-kit', 'generate', '--config', config], { encoding: 'utf8' })
  expect(stdout + stderr).toContain('nothing to migrate')
  expect(globSync('drizzle/**/*.{sql,json}').map((file) => [file, readFileSync(file, 'utf8')])).toEqual(before)
})

describe.skipIf(!hasPostgres)('in PostgreSQL (skipped without the package postgresql)', () => {
  test('the claims are not logged, and text is in the order of its bytes', async () => {
    const url = await (await postgres()).database()
    await (
      await openPostgres({ url: { text: url }, connections: 1, readConnections: 1, statementTimeoutMs: 10_000 })
    ).close()
    const client = new pg.Client(url)
    await client.connect()
    const unlogged = await client.query(`select relname from pg_class where relpersistence = 'u' and relkind = 'r'`)
    expect(unlogged.rows).toEqual([{ relname: 'claims' }])
    const ordered = await client.query(
      `select table_name, column_name from information_schema.columns
        where table_schema = 'public' and data_type = 'text' and collation_name is distinct from 'C'`,
    )
    expect(ordered.rows).toEqual([])
    await client.end()
  })
})

test('without a database address no code of PostgreSQL is loaded', () => {
  const script = `
    import { createService } from './src/service.ts'
    import { readConfig } from './src/config/config.ts'
    import { createRequire } from 'node:module'
    const service = await createService(readConfig())
    await service.close()
    const { cache } = createRequire(import.meta.url)
    const loaded = () => Object.keys(cache).filter((file) => /node_modules.pg./.test(file)).length
    const before = loaded()
    await import('./src/db/postgres/postgres.ts')
    process.stdout.write(JSON.stringify([before, loaded() > 0]))`
  const dir = mkdtempSync(path.join(tmpdir(), 'call-recordings-'))
  const { stdout, stderr } = spawnSync(NODE, ['--input-type=module', '-e', script], {
    encoding: 'utf8',
    env: { PATH: process.env.PATH ?? '', NODE_ENV: 'test', LOG_LEVEL: 'silent', RECORDINGS_DATA_DIR: dir },
  })
  rmSync(dir, { recursive: true })
  expect(stderr).toBe('')
  expect(JSON.parse(stdout)).toEqual([0, true])
})

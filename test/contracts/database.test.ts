import { postgresDatabase, sqliteDatabase } from '../support/databases.ts'
import { hasPostgres } from '../support/postgres.ts'
import { databaseContract } from './database.ts'

databaseContract('SQLite', sqliteDatabase)
if (hasPostgres) databaseContract('PostgreSQL', postgresDatabase)

import { defineConfig } from 'drizzle-kit'

export default defineConfig({
  dialect: 'postgresql',
  schema: './src/db/postgres/postgres-schema.ts',
  out: './drizzle/postgres',
})

/**
 * The server as a program.
 */
import { loadDrizzleAsCommonJs } from './db/drizzle-as-commonjs.ts'

loadDrizzleAsCommonJs()
const { serve } = await import('./serve.ts')
await serve()

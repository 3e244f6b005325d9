/**
 * The server as a program. `--with-parent`: it ends with the process that started it, as under `npm start`.
 */
import { loadDrizzleAsCommonJs } from './db/drizzle-as-commonjs.ts'
import { listenForSignals } from './process/signals.ts'

const signals = listenForSignals()
loadDrizzleAsCommonJs()
const { serve } = await import('./serve.ts')
await serve(signals, { withParent: process.argv.includes('--with-parent') })

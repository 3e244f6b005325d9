/**
 * The server as a program. `--with-parent`: it ends with the process that started it, as under `npm start`.
 */
import { listenForSignals } from './process/signals.ts'

const signals = listenForSignals()
const { serve } = await import('./serve.ts')
await serve(signals, { withParent: process.argv.includes('--with-parent') })

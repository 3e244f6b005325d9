/**
 * Where the migrations lie. The code stands in a folder of `src/` or, bundled, flat in `dist/`; they stand beside both.
 */
import { fileURLToPath } from 'node:url'

const up = import.meta.url.endsWith('.ts') ? '../../' : '../'

/** @param database which one's history */
export const drizzleFolder = (database: 'sqlite' | 'postgres'): string =>
  fileURLToPath(new URL(`${up}drizzle/${database}`, import.meta.url))

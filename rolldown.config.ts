/**
 * The bundle of what is packed and deployed, into `dist/`: `npm run bundle`, and by itself at `npm pack`. docs/decisions/0019.
 */
import { defineConfig } from 'rolldown'

/** What the source was is in the repository; the maps, a third as large without it, say where. */
const withoutSources = {
  name: 'maps without sources',
  generateBundle(_options: unknown, files: Record<string, { type: string; source?: unknown }>) {
    for (const [name, file] of Object.entries(files)) {
      if (!name.endsWith('.map')) continue
      const { sourcesContent: _, ...map } = JSON.parse(String(file.source))
      file.source = JSON.stringify(map)
    }
  },
}

export default defineConfig({
  // The second is what a thread runs; db/drizzle-folder.ts and media/inspect.ts rely on all files lying flat.
  input: { cli: 'src/cli.ts', 'inspect-worker': 'src/media/inspect-worker.ts' },
  platform: 'node',
  // Machine code, found beside its own package.json; and what traces are made with, which is there where somebody wants it.
  external: ['better-sqlite3', /^@opentelemetry\//],
  plugins: [withoutSources],
  output: { dir: 'dist', cleanDir: true, format: 'esm', sourcemap: true, chunkFileNames: '[name]-[hash].js' },
})

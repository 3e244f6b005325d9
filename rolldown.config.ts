/**
 * The bundle of what is packed and deployed, into `dist/`: `npm run bundle`, and by itself at `npm pack`. docs/decisions/0019.
 */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
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

/** What the page at /docs loads: src/http/contract-routes.ts has it from beside the bundle. */
const filesOfDocs = {
  name: 'files of /docs',
  generateBundle(this: { emitFile(file: { type: 'asset'; fileName: string; source: Buffer }): unknown }) {
    for (const fileName of ['swagger-ui-bundle.js', 'swagger-ui.css']) {
      const at = createRequire(import.meta.url).resolve(`swagger-ui-dist/${fileName}`)
      this.emitFile({ type: 'asset', fileName, source: readFileSync(at) })
    }
  },
}

export default defineConfig({
  // The second is what a thread runs; db/drizzle-folder.ts and media/inspect.ts rely on all files lying flat.
  input: { cli: 'src/cli.ts', 'inspect-worker': 'src/media/inspect-worker.ts' },
  platform: 'node',
  // Machine code, found beside its own package.json; and what traces are made with, which is there where somebody wants it.
  // What counts for Prometheus asks for a part of that too, and can't do without.
  external: (id, importer) =>
    id === 'better-sqlite3' || (/^@opentelemetry\//.test(id) && !importer?.includes('/prom-client/')),
  plugins: [withoutSources, filesOfDocs],
  output: { dir: 'dist', cleanDir: true, format: 'esm', sourcemap: true, chunkFileNames: '[name]-[hash].js' },
})

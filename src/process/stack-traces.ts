/**
 * Stack traces of the bundle in terms of the source. A map is read when a stack is, so that nothing is paid where none is:
 * with `--enable-source-maps` all are read ahead, 8 to 16 MB of them.
 */
import { readFileSync } from 'node:fs'
import { SourceMap } from 'node:module'

/** @param map of a file, `undefined` when it has none */
function placed(site: NodeJS.CallSite, map: SourceMap | undefined): string {
  const text = site.toString()
  const [line, column] = [site.getLineNumber(), site.getColumnNumber()]
  if (!map || line === null || column === null) return text
  const found = map.findEntry(line - 1, column - 1)
  if (!('originalSource' in found)) return text
  const source = found.originalSource.replace(/^(\.\.\/)+/, '')
  return text.replace(
    `${site.getFileName()}:${line}:${column}`,
    `${source}:${found.originalLine + 1}:${found.originalColumn + 1}`,
  )
}

/** Takes effect for stacks that are read afterwards. @param bundle the directory in which its files and their maps lie */
export function tellSourcesInStacks(bundle: URL): void {
  const maps = new Map<string, SourceMap | undefined>()
  const mapOf = (file: string | null): SourceMap | undefined => {
    if (!file?.startsWith(bundle.href)) return
    if (!maps.has(file)) {
      try {
        maps.set(file, new SourceMap(JSON.parse(readFileSync(new URL(`${file}.map`), 'utf8'))))
      } catch {
        maps.set(file, undefined) // the stack as it is
      }
    }
    return maps.get(file)
  }
  Error.prepareStackTrace = (error, sites) => {
    const frames = sites.map((site) => `\n    at ${placed(site, mapOf(site.getFileName()))}`)
    return `${Error.prototype.toString.call(error)}${frames.join('')}`
  }
}

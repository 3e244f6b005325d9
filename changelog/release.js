/**
 * Joins the files of this folder into a release's section of CHANGELOG.md, and removes them; `npm version` runs it.
 *
 * Each file is one change: a line `kind: added`, an empty line, and paragraphs, each of which becomes an item. Links in
 * them are written as from CHANGELOG.md. Nothing is touched where one of the files is not of that form.
 */
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'

/** In the order in which they are told. */
const KINDS = ['added', 'changed', 'fixed', 'removed']
/** Where releases are put in: the newest first, below it. */
const UNRELEASED = '## [Unreleased]\n'

/** @param {string} file @returns {{ file: string, kind: string, items: string[] }} */
function changeIn(file) {
  const text = readFileSync(file, 'utf8').replaceAll('\r\n', '\n')
  const [, kind = '', body = ''] = /^kind: (\w+)\n\n(.*)$/s.exec(text) ?? []
  const items = body
    .split(/\n{2,}/)
    .map((item) => item.trim())
    .filter((item) => item !== '')
  if (!KINDS.includes(kind) || items.length === 0) {
    throw new Error(`${file}: expected \`kind: ${KINDS.join('|')}\`, an empty line, and what changed`)
  }
  return { file, kind, items }
}

/**
 * @param {string} root the folder of CHANGELOG.md and `changelog/`
 * @param {{ version: string, date: string }} release
 * @throws where a change has another form, or CHANGELOG.md no place for it
 */
export function release(root, { version, date }) {
  const folder = path.join(root, 'changelog')
  const names = readdirSync(folder)
    .filter((name) => name.endsWith('.md'))
    .sort()
  const changes = names.map((name) => changeIn(path.join(folder, name)))
  const sections = KINDS.flatMap((kind) => {
    const items = changes.filter((change) => change.kind === kind).flatMap((change) => change.items)
    if (items.length === 0) return []
    const list = items.map((item) => `- ${item.replaceAll('\n', '\n  ')}`).join('\n')
    return [`### ${kind.charAt(0).toUpperCase()}${kind.slice(1)}\n\n${list}`]
  })
  const target = path.join(root, 'CHANGELOG.md')
  const text = readFileSync(target, 'utf8')
  if (!text.includes(UNRELEASED)) throw new Error(`${target} has no line ${UNRELEASED.trim()}`)
  const [head = '', ...rest] = text.split(UNRELEASED)
  const [, pointer = '', older = ''] = /^([^#]*)(.*)$/s.exec(rest.join(UNRELEASED)) ?? []
  const parts = [`${head}${UNRELEASED.trim()}`, pointer.trim(), `## [${version}] - ${date}`, ...sections, older]
  writeFileSync(target, `${parts.flatMap((part) => part.trimEnd() || []).join('\n\n')}\n`)
  for (const { file } of changes) rmSync(file)
}

if (process.argv[1] === import.meta.filename) {
  const version = process.env.npm_package_version
  if (version === undefined) throw new Error('`npm version` runs this; it says which version')
  release(path.join(import.meta.dirname, '..'), { version, date: new Date().toISOString().slice(0, 10) })
}

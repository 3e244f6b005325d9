/** The commands of a document, to be run as they stand. */
import { readFileSync } from 'node:fs'

/** The shell blocks of a section, in order; `#` of its title included. @throws where there are none */
export function shellOf(page: string, title: string): string[] {
  const text = readFileSync(page, 'utf8')
  const from = text.indexOf(`\n${title}\n`)
  const level = /^#+/.exec(title)?.[0].length ?? 2
  const rest = text.slice(from + title.length + 1)
  const end = rest.search(new RegExp(`\\n#{1,${level}} `))
  const section = end < 0 ? rest : rest.slice(0, end)
  const blocks = Array.from(section.matchAll(/```sh\n(.*?)```/gs), ([, block = '']) => block)
  if (from < 0 || blocks.length === 0) throw new Error(`${page} has no commands below ${title}`)
  return blocks
}

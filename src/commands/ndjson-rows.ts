/** Rows of a file with a JSON object a line, as the bodies of requests have them. What is left out stays as it is; null clears it. */
import { type BadRow, isColumn, MAX_ROW_CHARACTERS, type RawRow } from './crm-rows.ts'

interface Line {
  line: number
  /** Undefined: too long to be kept. */
  text: string | undefined
}

async function* linesOf(texts: AsyncIterable<string>): AsyncGenerator<Line> {
  let line = 1
  let rest: string | undefined = ''
  for await (const text of texts) {
    let from = 0
    for (let end = text.indexOf('\n'); end !== -1; end = text.indexOf('\n', from)) {
      yield { line, text: rest === undefined ? undefined : rest + text.slice(from, end) }
      line += 1
      rest = ''
      from = end + 1
    }
    if (rest !== undefined) rest += text.slice(from)
    if (rest !== undefined && rest.length > MAX_ROW_CHARACTERS) rest = undefined
  }
  yield { line, text: rest }
}

function rowOf({ line, text }: Line & { text: string }): RawRow | BadRow {
  let values: unknown
  try {
    values = JSON.parse(text)
  } catch {
    return { line, reason: 'It is no JSON.' }
  }
  if (typeof values !== 'object' || values === null || Array.isArray(values)) {
    return { line, reason: 'It is no JSON object.' }
  }
  const unknown = Object.keys(values).filter((name) => !isColumn(name))
  if (unknown.length === 0) return { line, values }
  const named = unknown.slice(0, 8).map((name) => name.slice(0, 64))
  return { line, reason: `No such parameter is known here: ${named.join(', ')}.` }
}

export async function* ndjsonRows(texts: AsyncIterable<string>): AsyncGenerator<RawRow | BadRow> {
  for await (const { line, text } of linesOf(texts)) {
    if (text === undefined || text.length > MAX_ROW_CHARACTERS) {
      yield { line, reason: `It has more than ${MAX_ROW_CHARACTERS} characters.` }
    } else if (text.trim() !== '') yield rowOf({ line, text })
  }
}

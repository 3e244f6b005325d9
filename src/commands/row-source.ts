/**
 * The text of a file of rows, or of stdin, a piece at a time: UTF-8 and nothing else, since what is taken for it and is none
 * would be kept damaged.
 */
import { createReadStream } from 'node:fs'
import { addAbortSignal } from 'node:stream'
import { MAX_ROW_CHARACTERS } from './crm-rows.ts'

/** What keeps a file from being read on; a sentence that goes on from its name. */
export class UnreadableSource extends Error {
  override name = 'UnreadableSource'
  readonly line: number | undefined

  constructor(message: string, line?: number) {
    super(message)
    this.line = line
  }
}

export type RowFormat = 'csv' | 'ndjson'

export interface RowSource {
  format: RowFormat
  texts: AsyncIterable<string>
}

const PIECE_BYTES = 256 * 1024
const NO_UTF8 = 'is no UTF-8 text: save it as "CSV UTF-8", or bring it to that by iconv'

async function* textsIn(bytes: AsyncIterable<Buffer>, onBytes: (count: number) => void): AsyncGenerator<string> {
  // Leaves a byte order mark out.
  const decoder = new TextDecoder('utf-8', { fatal: true })
  const decode = (piece?: Buffer) => {
    try {
      return decoder.decode(piece, { stream: piece !== undefined })
    } catch {
      throw new UnreadableSource(NO_UTF8)
    }
  }
  for await (const piece of bytes) {
    onBytes(piece.length)
    yield decode(piece)
  }
  yield decode()
}

/** All up to where something stands. */
async function firstIn(texts: AsyncIterator<string>): Promise<string> {
  let first = ''
  for (;;) {
    const next = await texts.next()
    if (next.done) throw new UnreadableSource('is empty')
    first += next.value
    if (next.value.trim() !== '') return first
    if (first.length > MAX_ROW_CHARACTERS) {
      throw new UnreadableSource(`begins with more than ${MAX_ROW_CHARACTERS} blank characters`)
    }
  }
}

async function* chained(first: string, rest: AsyncIterator<string>): AsyncGenerator<string> {
  yield first
  for (let next = await rest.next(); !next.done; next = await rest.next()) yield next.value
}

function formatOf(text: string): RowFormat {
  const [first] = text.trimStart()
  if (first === '[') {
    throw new UnreadableSource("is a list of JSON: expected an object a line, as `jq -c '.[]'` makes them of it")
  }
  return first === '{' ? 'ndjson' : 'csv'
}

/**
 * @param file `-` is stdin
 * @param format found by what comes first, where it is not given
 * @param stop closes it
 * @throws UnreadableSource here and later
 */
export async function openSource(
  file: string,
  format: RowFormat | undefined,
  onBytes: (count: number) => void,
  stop: AbortSignal,
): Promise<RowSource> {
  const bytes = file === '-' ? process.stdin : createReadStream(file, { highWaterMark: PIECE_BYTES })
  addAbortSignal(stop, bytes)
  const texts = textsIn(bytes, onBytes)
  try {
    const first = await firstIn(texts)
    return { format: format ?? formatOf(first), texts: chained(first, texts) }
  } catch (error) {
    // What writes to stdin would be waited for.
    await texts.return(undefined)
    throw error
  }
}

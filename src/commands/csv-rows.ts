/**
 * Rows of a CSV file (RFC 4180), with a first line that names the columns, in any order.
 *
 * A column that is not there is left out; an empty cell is null, as in JSON, and clears what it stands for. `""` is an empty
 * name. A quote inside of a cell that does not begin with one is what it is.
 */
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { type CastingContext, type CsvError, parse } from 'csv-parse'
import { type BadRow, COLUMNS, type Column, isColumn, MAX_ROW_CHARACTERS, type RawRow } from './crm-rows.ts'
import { UnreadableSource } from './row-source.ts'

/** Null: nothing between two commas. */
type Cell = string | null
interface Parsed {
  record: Cell[]
  info: { lines: number }
}

const OPTIONS = {
  info: true,
  record_delimiter: ['\r\n', '\n', '\r'],
  relax_column_count: true,
  relax_quotes: true,
  skip_empty_lines: true,
  skip_records_with_error: true,
  max_record_size: MAX_ROW_CHARACTERS,
}

const NUMBER = /^-?\d+(\.\d+)?(e[+-]?\d+)?$/i

/** As JSON would have it. */
function asJson(column: Column, cell: Cell): unknown {
  switch (column) {
    case 'lead_id':
    case 'telecaller_id':
    case 'call_log_id':
      return cell || undefined
    case 'name':
      return cell
    case 'duration_seconds':
      return cell && NUMBER.test(cell) ? Number(cell) : cell || null
    default:
      return cell || null
  }
}

function columnsOf(header: readonly Cell[]): Column[] {
  const names = header.map((cell) => cell?.trim() ?? '')
  const unknown = names.filter((name) => !isColumn(name))
  const twice = names.find((name, i) => names.indexOf(name) !== i)
  if (unknown.length > 0) {
    const named = unknown.slice(0, 8).map((name) => `"${name.slice(0, 64)}"`)
    throw new UnreadableSource(
      `names columns that are not known: ${named.join(', ')}; those are ${COLUMNS.join(', ')}`,
      1,
    )
  }
  if (twice !== undefined) throw new UnreadableSource(`names the column ${twice} twice`, 1)
  return names as Column[]
}

/** The lines that rows begin on: the parser tells where they end, and counts CRLF in quotes as two. */
function lineCount() {
  let counted = 0
  let end = 0
  return {
    beginOf({ record, info }: Parsed): number {
      const text = record.join('')
      const breaks = text.match(/\r\n|\r|\n/g)?.length ?? 0
      counted += text.match(/\r\n/g)?.length ?? 0
      end = info.lines - counted
      return end - breaks
    },
    next: () => end + 1,
  }
}

/** What ended it, and on which line. */
interface Fault {
  code: CsvError['code']
  lines?: number
}

const whyUnreadable = ({ code }: Fault) =>
  code === 'CSV_QUOTE_NOT_CLOSED'
    ? 'a quote is opened that is never closed'
    : `a row has more than ${MAX_ROW_CHARACTERS} characters: is a quote opened there that is never closed?`

/** Rows as far as they can be told apart, and what ended that. Rows ahead of it are not lost, as they would be if the parser failed. */
function parsedRows(texts: AsyncIterable<string>) {
  let fault: Fault | undefined
  const cast = (text: string, { quoting, index, lines }: CastingContext) => {
    // The parser bounds what is in cells, and not how many are empty.
    if (index > MAX_ROW_CHARACTERS) fault ??= { code: 'CSV_MAX_RECORD_SIZE', lines }
    return text === '' && !quoting ? null : text
  }
  const parser = parse({ ...OPTIONS, cast })
  parser.on('skip', (error: CsvError) => {
    fault ??= error
  })
  async function* untilFault() {
    for await (const text of texts) {
      if (fault) return
      yield text
    }
  }
  // What fails in the source ends the parser, and so who reads it.
  pipeline(Readable.from(untilFault()), parser).catch(() => {})
  return { rows: parser as AsyncIterable<Parsed>, fault: () => fault }
}

function rowOf(columns: readonly Column[], record: readonly Cell[], line: number): RawRow | BadRow {
  if (record.length !== columns.length) {
    return { line, reason: `It has ${record.length} cells, and there are ${columns.length} columns.` }
  }
  return { line, values: Object.fromEntries(columns.map((column, i) => [column, asJson(column, record[i] ?? null)])) }
}

/** @throws UnreadableSource for a header that is not understood, and where a quote is not closed */
export async function* csvRows(texts: AsyncIterable<string>): AsyncGenerator<RawRow | BadRow> {
  const { rows, fault } = parsedRows(texts)
  const lines = lineCount()
  let columns: Column[] | undefined
  for await (const parsed of rows) {
    const ended = fault()
    // Behind it, cells are guesses.
    if (ended && parsed.info.lines >= (ended.lines as number)) break
    const line = lines.beginOf(parsed)
    if (columns === undefined) columns = columnsOf(parsed.record)
    else yield rowOf(columns, parsed.record, line)
  }
  const ended = fault()
  if (ended) throw new UnreadableSource(whyUnreadable(ended), lines.next())
}

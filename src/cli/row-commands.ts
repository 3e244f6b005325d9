/** Commands about leads and calls: in from a CRM's files, out again, and looked at. */
import { Argument, type Command, Option } from 'commander'
import { declare } from './declaration.ts'
import { wholeNumber } from './option-values.ts'

const FORMATS = ['csv', 'ndjson'] as const
const ROWS = ['leads', 'calls'] as const
const LISTS = ['leads', 'calls', 'recordings', 'uploads'] as const

/** What commander has checked to be one of the choices. */
const oneOf = <Choice extends string>(choices: readonly Choice[], word: string | undefined) =>
  choices.find((choice) => choice === word)

const formats = new Option('--format <format>', 'how rows are written').choices(FORMATS)

interface ImportWords {
  format?: (typeof FORMATS)[number]
  dryRun?: true
  stopOnError?: true
  fromLine?: number
}

export const importCommand = declare<ImportWords>({
  name: 'import',
  summary: 'takes leads and call logs from CSV or NDJSON',
  about:
    'Columns, or members of a JSON object a line, in any order: lead_id, telecaller_id, name of a lead; call_log_id, lead_id,\n' +
    'started_at (RFC 3339), duration_seconds, direction (inbound, outbound) of a call. A row has one of both, or both. What is\n' +
    'there is changed: a column that is left out stays as it is, an empty cell clears. The rules are those of the HTTP routes.\n' +
    'Works beside running servers, in small transactions. To run it again changes nothing that is the same already.',
  examples: [
    ['import leads.csv calls.csv', 'leads ahead of the calls that name them'],
    ['import --dry-run crm.csv', 'tells what it would do, and each row that it would refuse'],
    ['import --stop-on-error --from-line 20001 crm.csv', 'goes on where an import was stopped'],
    ['import -', 'reads what another program writes, as in: crm-export | call-recordings import -'],
  ],
  fails: 'a row was refused, or a file could not be read to its end: each with its line and why',
  shape: (command: Command) =>
    command
      .argument('<file...>', 'files, or - for stdin')
      .addOption(formats)
      .option('--dry-run', 'only tells what it would do')
      .option('--stop-on-error', 'ends at the first row that is refused; rows behind it are not written')
      .option('--from-line <line>', 'passes over rows that begin above it', wholeNumber(1)),
  async run({ words, options, output }) {
    const { readConfig } = await import('../config/config.ts')
    const { importRows } = await import('../commands/import.ts')
    const { format, dryRun = false, stopOnError = false, fromLine = 1 } = options
    return importRows(readConfig(), { files: words, format, dryRun, stopOnError, fromLine }, output)
  },
})

interface ExportWords {
  format?: (typeof FORMATS)[number]
  output?: string
  forSpreadsheet?: true
}

export const exportCommand = declare<ExportWords>({
  name: 'export',
  summary: 'writes leads and call logs as CSV or NDJSON, as import takes them',
  about:
    'What is written says what the tables say, to the letter: an import of it makes the same rows. Only reads; works beside\n' +
    'running servers.',
  examples: [
    ['export --output crm.csv', 'leads, and behind them their calls, in one file'],
    ['export calls --format ndjson', 'calls alone, to stdout'],
    ['export leads --for-spreadsheet --output leads.csv', 'for people: no cell can be run as a formula'],
  ],
  fails: 'it could not be written',
  shape: (command: Command) =>
    command
      .addArgument(new Argument('[what]', 'both without it').choices(ROWS))
      .addOption(formats)
      .option('--output <file>', 'a new file, which appears when it is whole; without it, stdout')
      .option(
        '--for-spreadsheet',
        'with a mark by which Excel knows UTF-8, and an apostrophe ahead of = + - @; not for import',
      ),
  async run({ words: [what], options, output }) {
    const { readConfig } = await import('../config/config.ts')
    const { exportRows } = await import('../commands/export.ts')
    const { format = 'csv', output: file, forSpreadsheet = false } = options
    return exportRows(readConfig(), { what: oneOf(ROWS, what), format, output: file, forSpreadsheet }, output)
  },
})

interface ListWords {
  lead?: string
  limit: number
  after?: string
}

export const listCommand = declare<ListWords>({
  name: 'list',
  summary: 'shows leads, calls, recordings, or uploads on their way',
  about:
    'In the order of their ids; those of recordings and uploads rise with time. Only reads; works beside running servers.',
  examples: [
    ['list recordings --lead lead-17', 'the first 50 recordings of a lead'],
    ['list uploads --json', 'all that programs may want to know of uploads on their way'],
  ],
  fails: 'the database could not be read',
  shape: (command: Command) =>
    command
      .addArgument(new Argument('<what>', 'what is listed').choices(LISTS))
      .option('--lead <id>', 'those of one lead')
      .option('--limit <count>', 'how many at most', wholeNumber(1, 10_000), 50)
      .option('--after <id>', 'goes on behind the last one that was seen'),
  async run({ words: [what], options, output }) {
    const { readConfig } = await import('../config/config.ts')
    const { list } = await import('../commands/list.ts')
    return list(readConfig(), { what: oneOf(LISTS, what) ?? 'leads', ...options }, output)
  },
})

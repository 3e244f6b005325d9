/**
 * `call-recordings export`: leads and calls as `import` reads them, in the order of their ids, a page in memory at a time.
 *
 * What comes out says what the tables say, to the letter. For a spreadsheet, which would run a text that begins with `=`, there
 * is another form (`--for-spreadsheet`), which is for people alone.
 */
import { once } from 'node:events'
import { createWriteStream, existsSync } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { Readable, type Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Config } from '../config/config.ts'
import { callLogsAfter, leadsAfter, leadsAmong } from '../db/copying.ts'
import type { Reading } from '../db/database.ts'
import type { CallLog, Lead } from '../db/schema.ts'
import { syncDirectory } from '../storage/disk/durability.ts'
import { goesAtExit } from './broken-off.ts'
import { COLUMNS, type Column, type Values } from './crm-rows.ts'
import { csvLine } from './csv-text.ts'
import { assertTables, openTables } from './existing.ts'
import type { Output } from './output.ts'
import type { RowFormat } from './row-source.ts'
import { UsageError } from './usage-error.ts'

export interface ExportOptions {
  /** Undefined: both. */
  what?: 'leads' | 'calls' | undefined
  format: RowFormat
  /** Undefined: stdout. */
  output?: string | undefined
  forSpreadsheet: boolean
}

const PAGE = 500

const LEAD: readonly Column[] = ['lead_id', 'telecaller_id', 'name']
const CALL: readonly Column[] = ['call_log_id', 'lead_id', 'started_at', 'duration_seconds', 'direction']

const leadRow = ({ id, telecallerId, name }: Lead): Values => ({ lead_id: id, telecaller_id: telecallerId, name })
const callRow = (call: CallLog): Values => ({
  call_log_id: call.id,
  lead_id: call.leadId,
  started_at: call.startedAtMs === null ? null : new Date(call.startedAtMs).toISOString(),
  duration_seconds: call.durationSeconds,
  direction: call.direction,
})

interface Sum {
  leads: number
  calls: number
}

async function* leadRows(db: Reading, sum: Sum): AsyncGenerator<Values[]> {
  for (let after = ''; ; ) {
    const page = await leadsAfter(db, after, PAGE)
    const last = page.at(-1)
    if (!last) return
    sum.leads += page.length
    yield page.map(leadRow)
    after = last.id
  }
}

/** @param since where leads were read too: those that came later stand ahead of their calls, which the file may not lack */
async function* callRows(db: Reading, sum: Sum, since: number | undefined): AsyncGenerator<Values[]> {
  for (let after = ''; ; ) {
    const page = await callLogsAfter(db, after, PAGE)
    const last = page.at(-1)
    if (!last) return
    sum.calls += page.length
    const ids = new Set(page.map(({ leadId }) => leadId))
    const leads = since === undefined ? [] : await leadsAmong(db, [...ids])
    yield [...leads.filter(({ createdAtMs }) => createdAtMs >= (since ?? 0)).map(leadRow), ...page.map(callRow)]
    after = last.id
  }
}

/** Clocks of others may differ from ours; a lead that comes twice does no harm. */
const CLOCKS_MS = 60_000

async function* allRows(db: Reading, what: ExportOptions['what'], sum: Sum): AsyncGenerator<Values[]> {
  const since = Date.now() - CLOCKS_MS
  if (what !== 'calls') yield* leadRows(db, sum)
  if (what !== 'leads') yield* callRows(db, sum, what === undefined ? since : undefined)
}

const columnsOf = ({ what }: ExportOptions) => (what === 'leads' ? LEAD : what === 'calls' ? CALL : COLUMNS)

async function* textOf(rows: AsyncIterable<Values[]>, options: ExportOptions): AsyncGenerator<string> {
  const columns = columnsOf(options)
  const { format, forSpreadsheet } = options
  // By it, spreadsheets know UTF-8.
  if (format === 'csv') yield `${forSpreadsheet ? '\ufeff' : ''}${columns.join(',')}\r\n`
  for await (const page of rows) {
    const lines = page.map((row) =>
      format === 'csv'
        ? csvLine(
            columns.map((column) => row[column]),
            forSpreadsheet,
          )
        : `${JSON.stringify(row)}\n`,
    )
    yield lines.join('')
  }
}

/** A file appears when it is whole, and takes the place of none. */
async function intoFile(file: string, texts: AsyncIterable<string>): Promise<void> {
  const partial = `${file}.partial`
  const stream = createWriteStream(partial, { flags: 'wx', mode: 0o600, flush: true })
  try {
    await once(stream, 'open')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    const what =
      code === 'EEXIST'
        ? 'is there already: another export writes it, or was broken off; remove it'
        : `can't be made (${code})`
    throw new UsageError(`${partial} ${what}`)
  }
  const isWhole = goesAtExit(partial)
  try {
    await pipeline(Readable.from(texts), stream)
    await rename(partial, file)
    await syncDirectory(path.dirname(path.resolve(file)))
  } catch (error) {
    await rm(partial, { force: true })
    throw error
  } finally {
    isWhole()
  }
}

/** Ends without a word when what reads it has seen enough. */
async function intoStream(stream: Writable, texts: AsyncIterable<string>): Promise<void> {
  const gone = new AbortController()
  const onError = (error: unknown) => gone.abort(error)
  stream.once('error', onError)
  try {
    for await (const text of texts) {
      if (!stream.write(text)) await once(stream, 'drain', { signal: gone.signal })
      if (gone.signal.aborted) break
    }
  } catch (error) {
    if (!gone.signal.aborted) throw error
  } finally {
    stream.off('error', onError)
  }
  const { code } = (gone.signal.reason ?? {}) as NodeJS.ErrnoException
  if (gone.signal.aborted && code !== 'EPIPE') throw new Error(`stdout can't be written (${code})`)
}

/** @returns the exit code */
export async function exportRows(config: Config, options: ExportOptions, output: Output): Promise<number> {
  const { what, format, output: file, forSpreadsheet } = options
  if (forSpreadsheet && format !== 'csv') throw new UsageError('--for-spreadsheet is of CSV')
  if (output.isJson && file === undefined) throw new UsageError('--json speaks on stdout: name a file by --output')
  if (file !== undefined && existsSync(file)) throw new UsageError(`${file} is there already. Nothing was done.`)
  const db = await openTables(config)
  try {
    await assertTables(config, db)
    const sum: Sum = { leads: 0, calls: 0 }
    const texts = textOf(allRows(db, what, sum), options)
    if (file === undefined) {
      await intoStream(process.stdout, texts)
      return 0
    }
    await intoFile(file, texts)
    output.sum({ file, ...sum }, `${sum.leads} leads and ${sum.calls} calls in ${file}`)
    return 0
  } finally {
    await db.close()
  }
}

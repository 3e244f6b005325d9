/**
 * `call-recordings import FILE…`: leads and their calls out of a CRM's files, beside the server if it runs.
 *
 * Rows are written some at a time, each lot a transaction. An import that was broken off is run again: what it has done is
 * seen, and not written twice. Memory does not grow with the files.
 */
import { stat } from 'node:fs/promises'
import type { Config } from '../config/config.ts'
import { isRefusal, ServiceError } from '../errors.ts'
import { endsByItself } from './broken-off.ts'
import { type BadRow, type CrmRow, checkedRow, type RawRow } from './crm-rows.ts'
import { csvRows } from './csv-rows.ts'
import { type ImportTarget, openImportTarget } from './import-target.ts'
import { addWritten, nothing, type Written, writeRows } from './import-write.ts'
import { ndjsonRows } from './ndjson-rows.ts'
import type { Output } from './output.ts'
import { createProgress, type Progress } from './progress.ts'
import { openSource, type RowFormat, UnreadableSource } from './row-source.ts'
import { UsageError } from './usage-error.ts'

export interface ImportOptions {
  /** `-` is stdin. */
  files: readonly string[]
  format?: RowFormat | undefined
  /** Shows what it would do. */
  dryRun: boolean
  /** Ends at the first row that is refused; rows behind it are not written. */
  stopOnError: boolean
  /** Rows that begin above it are passed over; 1 is the first line. */
  fromLine: number
}

/** Rows in one transaction: a server beside it waits for so long. */
const STEP = 100

interface Run {
  target: ImportTarget
  options: ImportOptions
  output: Output
  progress: Progress
  /** Asked to stop, by a signal. */
  stop: AbortSignal
  sum: Written
  /** Rows that were refused, and files that could not be read to their end. */
  refused: number
}

interface Batch {
  rows: CrmRow[]
  bad: BadRow[]
  /** The last line that is part of it. */
  line: number
}

function take(batch: Batch, raw: RawRow | BadRow): void {
  batch.line = raw.line
  if ('reason' in raw) {
    batch.bad.push(raw)
    return
  }
  try {
    batch.rows.push(checkedRow(raw))
  } catch (error) {
    if (!(error instanceof ServiceError && isRefusal(error))) throw error
    batch.bad.push({ line: raw.line, reason: error.message })
  }
}

/** Rows with what is wrong with some of them, so many at a time. What ends the file is thrown behind the last batch. */
async function* batches(rows: AsyncIterable<RawRow | BadRow>, { fromLine, stopOnError }: ImportOptions) {
  let batch: Batch = { rows: [], bad: [], line: 0 }
  let fault: unknown
  try {
    for await (const raw of rows) {
      if (raw.line < fromLine) continue
      take(batch, raw)
      if (stopOnError && batch.bad.length > 0) break
      if (batch.rows.length + batch.bad.length < STEP) continue
      yield batch
      batch = { rows: [], bad: [], line: 0 }
    }
  } catch (error) {
    if (!(error instanceof UnreadableSource)) throw error
    fault = error
  }
  if (batch.line > 0) yield batch
  if (fault !== undefined) throw fault
}

const nameOf = (file: string) => (file === '-' ? 'stdin' : file)

function refuse(
  { output, progress }: Run,
  file: string,
  { line, reason }: { line?: number | undefined; reason: string },
) {
  progress.done()
  const at = line === undefined ? nameOf(file) : `${nameOf(file)}:${line}`
  output.warn({ type: 'refused', file: nameOf(file), line, reason }, `${at}: ${reason}`)
}

/** @returns whether to go on, and the last line of which all is done */
async function write(run: Run, file: string, batch: Batch): Promise<{ goesOn: boolean; done: number }> {
  const { target, options, sum } = run
  const written = await writeRows(target, batch.rows, options.stopOnError)
  const bad = [...batch.bad, ...written.bad].sort((a, b) => a.line - b.line)
  const [first] = bad
  const told = options.stopOnError ? bad.slice(0, 1) : bad
  for (const each of told) refuse(run, file, each)
  run.refused += told.length
  addWritten(sum, { ...written, bad: [] })
  if (options.stopOnError && first) return { goesOn: false, done: first.line - 1 }
  return { goesOn: !run.stop.aborted, done: batch.line }
}

/** @returns whether to go on with the next file */
async function readFile(run: Run, file: string): Promise<boolean> {
  const { options, progress } = run
  let done = 0
  try {
    const { format, texts } = await openSource(file, options.format, (bytes) => progress.advance(bytes), run.stop)
    const rows = format === 'csv' ? csvRows(texts) : ndjsonRows(texts)
    for await (const batch of batches(rows, options)) {
      const outcome = await write(run, file, batch)
      done = outcome.done
      if (outcome.goesOn) continue
      tellWhere(run, file, done)
      return false
    }
    return true
  } catch (error) {
    if (!(error instanceof UnreadableSource)) {
      tellWhere(run, file, done)
      // Its file was closed for that.
      if (run.stop.aborted) return false
      throw error
    }
    refuse(run, file, { line: error.line, reason: error.message })
    run.refused += 1
    return !options.stopOnError
  }
}

function tellWhere({ output, options, stop }: Run, file: string, line: number): void {
  if (line === 0 && !stop.aborted) return
  const next = options.dryRun ? '' : `; run the same again, or go on with --from-line ${line + 1}`
  const text = `stopped: ${nameOf(file)} is done up to line ${line}${next}`
  output.warn({ type: 'stopped', file: nameOf(file), line }, text)
}

const counted = ({ created, changed, unchanged }: Written['leads']) =>
  `${created} created, ${changed} changed, ${unchanged} unchanged`

const fateOfOthers = ({ dryRun, stopOnError }: Run['options']) =>
  stopOnError ? 'are not looked at' : dryRun ? 'would be taken' : 'are in'

function tell({ output, options, sum: { leads, calls }, refused }: Run): void {
  output.sum({ dry_run: options.dryRun, leads: { ...leads }, calls: { ...calls }, refused })
  output.say(`leads    ${counted(leads)}`)
  output.say(`calls    ${counted(calls)}`)
  if (refused > 0) output.say(`refused  ${refused}, named above; all others ${fateOfOthers(options)}`)
  if (options.dryRun) output.say('nothing was done')
}

/** @throws UsageError */
async function sizeOf(files: readonly string[]): Promise<number> {
  let total = 0
  for (const file of files.filter((each) => each !== '-')) {
    const found = await stat(file).catch(({ code }: NodeJS.ErrnoException) => {
      throw new UsageError(`${file} can't be read (${code}). Nothing was done.`)
    })
    if (found.isDirectory()) throw new UsageError(`${file} is a directory: name the files. Nothing was done.`)
    total += found.size
  }
  return total
}

/** @returns the exit code: 1 when a row was refused, or not all was read */
export async function importRows(config: Config, options: ImportOptions, output: Output): Promise<number> {
  const { files, fromLine, dryRun } = options
  if (fromLine > 1 && files.length > 1) throw new UsageError('--from-line is of one file. Nothing was done.')
  const bytes = await sizeOf(files)
  const target = await openImportTarget(config, dryRun)
  const stop = new AbortController()
  const done = endsByItself(() => stop.abort())
  const progress = createProgress('importing', bytes, process.stderr)
  const run: Run = { target, options, output, progress, stop: stop.signal, sum: nothing(), refused: 0 }
  let isWhole = true
  try {
    for (const file of files) {
      isWhole = await readFile(run, file)
      if (!isWhole) break
    }
  } finally {
    progress.done()
    done()
    tell(run)
    await target.close()
  }
  return isWhole && run.refused === 0 ? 0 : 1
}

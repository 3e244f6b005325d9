/** Leads and calls out of a CRM's files, and into files again. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Readable } from 'node:stream'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { csvRows } from '../src/commands/csv-rows.ts'
import { csvLine } from '../src/commands/csv-text.ts'
import { type ExportOptions, exportRows } from '../src/commands/export.ts'
import { type ImportOptions, importRows } from '../src/commands/import.ts'
import { callLogById } from '../src/db/call-logs.ts'
import { callLogsAfter, leadsAfter } from '../src/db/copying.ts'
import { leadById } from '../src/db/leads.ts'
import { newId } from '../src/ids.ts'
import { childEnvironment, NODE, runCommand } from './support/process.ts'
import { said } from './support/said.ts'
import { afterwards, jsonOf, startService, type TestService } from './support/service.ts'

const server = await startService()
const folder = await mkdtemp(path.join(tmpdir(), 'import-'))
afterwards(() => rm(folder, { recursive: true, force: true }))

async function fileOf(text: string | Buffer, ending = 'csv'): Promise<string> {
  const file = path.join(folder, `${newId()}.${ending}`)
  await writeFile(file, text)
  return file
}

const PLAIN = { dryRun: false, stopOnError: false, fromLine: 1 }

async function imported(text: string | Buffer, options: Partial<ImportOptions> = {}, at: TestService = server) {
  const file = await fileOf(text)
  const output = said()
  const code = await importRows(at.service.config, { ...PLAIN, files: [file], ...options }, output)
  const refused = output.items.filter(({ type }) => type === 'refused').map(({ line, reason }) => [line, reason])
  return { code, refused, sums: output.sums, lines: output.lines, file }
}

async function exported(options: Partial<ExportOptions> = {}, at: TestService = server): Promise<string> {
  const file = path.join(folder, `out-${newId()}`)
  const all = { format: 'csv', forSpreadsheet: false, output: file, ...options } as const
  expect(await exportRows(at.service.config, all, said())).toBe(0)
  return readFile(file, 'utf8')
}

const counts = (created: number, changed = 0, unchanged = 0) => ({ created, changed, unchanged })
const lead = async (id: string) => leadById(server.service.db, id)
const call = async (id: string) => callLogById(server.service.db, id)

describe('import', () => {
  test('ends a file of one endless row of empty cells where a row has to end, with the rows ahead of it in', async () => {
    const started = process.memoryUsage().rss
    const text = `lead_id,telecaller_id,name\nendless-1,t,n\n${','.repeat(8_000_000)}`
    const { code, refused, sums } = await imported(text)
    expect({ code, refused, sums }).toMatchObject({
      code: 1,
      refused: [[3, expect.stringContaining('a row has more than 65536 characters')]],
      sums: { leads: counts(1) },
    })
    expect(await lead('endless-1')).toBeDefined()
    expect(process.memoryUsage().rss - started).toBeLessThan(250_000_000)
  })

  test('reads no more blanks ahead of the first row than a row may have', async () => {
    const { code, refused } = await imported(`${' '.repeat(600_000)}lead_id,telecaller_id\n`)
    expect({ code, refused }).toEqual({
      code: 1,
      refused: [[undefined, 'begins with more than 65536 blank characters']],
    })
  })

  test('waits for no more of stdin once it is seen to be no rows', async () => {
    const child = spawn(NODE, ['bin/call-recordings.js', 'import', '-', '--json'], {
      env: childEnvironment(server.service.config.dataDir),
    })
    // The other end stays open.
    child.stdin.write('[{"lead_id":"x"}]')
    const [code] = (await once(child, 'close')) as [number | null]
    expect(code).toBe(1)
  })

  test('shows a terminal no row that it would obey, or take for another line', async () => {
    const file = await fileOf(
      `{"lead_id":"x","telecaller_id":"t","\\u001b[31m\\u009b2J\\nok: all is in":1}\n`,
      'ndjson',
    )
    const { stderr, code } = await runCommand(['import', file], { dir: server.service.config.dataDir })
    expect(code).toBe(1)
    expect(stderr).toBe(`${file}:1: No such parameter is known here: \\u001b[31m\\u009b2J\\u000aok: all is in.\n`)
  })

  test('takes leads and calls in one file, in any order of columns, with a mark, quotes, Hindi and lines within a name', async () => {
    const text =
      '\ufeffname,call_log_id,lead_id,direction,started_at,telecaller_id,duration_seconds\r\n' +
      '"प्रिया ""शर्मा"", दिल्ली",,one-1,,,auth0|5f7c,\r\n' +
      '"two\r\nlines",one-c1,one-2,inbound,2026-01-02T03:04:05+05:30,asha@example.in,12.5\r\n' +
      '\r\n' +
      ',one-c2,one-1,outbound,2026-01-02T03:04:05.678Z,,0\r\n'
    const result = await imported(text)
    expect(result).toMatchObject({ code: 0, refused: [], sums: { leads: counts(2), calls: counts(2), refused: 0 } })
    expect(await lead('one-1')).toMatchObject({ telecallerId: 'auth0|5f7c', name: 'प्रिया "शर्मा", दिल्ली' })
    expect(await lead('one-2')).toMatchObject({ telecallerId: 'asha@example.in', name: 'two\r\nlines' })
    expect(await call('one-c1')).toMatchObject({
      leadId: 'one-2',
      startedAtMs: Date.parse('2026-01-01T21:34:05Z'),
      durationSeconds: 12.5,
      direction: 'inbound',
    })
    expect(await call('one-c2')).toMatchObject({ leadId: 'one-1', durationSeconds: 0 })
  })

  test('names each row that it refuses, by its line and the sentence of the HTTP route, and takes the others', async () => {
    const rows = [
      'lead_id,telecaller_id,name,call_log_id,started_at,duration_seconds,direction',
      'bad-1,tele,A',
      'bad 2,tele,,,,,',
      'bad-3,,Name without its telecaller,,,,',
      'bad-4,tele,,bad-c4,yesterday,,',
      'bad-5,tele,,bad-c5,,twelve,',
      'bad-6,tele,,bad-c6,,,sideways',
      'bad-7,,,bad-c7,,,',
      'bad-8,tele,,,,3,',
      'bad-9,,,,,,',
      `bad-10,${'t'.repeat(256)},,,,,`,
      `bad-11,tele,"half\ud800",,,,`,
      '"bad-12',
      '",tele,,,,,',
      'good,tele,,good-c,,1e3,',
    ]
    const result = await imported(rows.join('\n').replace('half\ud800', 'nul\0'))
    expect(result.code).toBe(1)
    expect(result.sums).toMatchObject({ leads: counts(1), calls: counts(1), refused: 12 })
    expect(result.refused).toEqual([
      [2, 'It has 3 cells, and there are 7 columns.'],
      [3, expect.stringMatching(/^The parameter lead_id is not valid: it must be 1 to 64 characters/)],
      [4, 'The parameter telecaller_id is missing.'],
      [5, expect.stringMatching(/^The parameter started_at is not valid/)],
      [6, expect.stringMatching(/^The parameter duration_seconds is not valid: it must be a number/)],
      [7, expect.stringMatching(/^The parameter direction is not valid/)],
      [8, 'There is no such lead.'],
      [9, 'The parameter call_log_id is missing.'],
      [10, 'It has neither a telecaller_id, for a lead, nor a call_log_id, for a call.'],
      [11, expect.stringMatching(/^The parameter telecaller_id is not valid/)],
      [12, expect.stringMatching(/^The parameter name is not valid: it must have neither NUL/)],
      [13, expect.stringMatching(/^The parameter lead_id is not valid/)],
    ])
    expect(result.lines[0]).toBe(`${result.file}:2: It has 3 cells, and there are 7 columns.`)
    const body = { telecaller_id: 'tele', name: 'nul\0' }
    const asked = await server.api('PUT', '/api/leads/bad-11', { token: server.tokens.crm, body })
    expect((await jsonOf(asked)).detail).toBe(result.refused[10]?.[1])
    expect(await lead('bad-4')).toBeUndefined()
  })

  test('of lines of JSON, says what is left out, null, or not known', async () => {
    await imported('{"lead_id":"nd-1","telecaller_id":"a","name":"A"}\n{"lead_id":"nd-2","telecaller_id":"a"}')
    const text =
      '\ufeff{"lead_id":"nd-1","telecaller_id":"b"}\n\n{"lead_id":"nd-2","telecaller_id":"a","name":null}\r\n' +
      '{"lead_id":"nd-1","call_log_id":"nd-c","duration_seconds":"12"}\n{"lead_id":"nd-3","telecaller":"x"}\n' +
      '[1]\n{"lead_id":\n' +
      `{"lead_id":"nd-1","telecaller_id":"b","name":"${'x'.repeat(70_000)}"}\n{"lead_id":"nd-1","call_log_id":"nd-c"}`
    const result = await imported(text)
    expect(result).toMatchObject({ code: 1, sums: { leads: counts(0, 1, 1), calls: counts(1) } })
    expect(result.refused).toEqual([
      [4, expect.stringMatching(/^The parameter duration_seconds is not valid: it must be a number/)],
      [5, 'No such parameter is known here: telecaller.'],
      [6, 'It is no JSON object.'],
      [7, 'It is no JSON.'],
      [8, 'It has more than 65536 characters.'],
    ])
    // A lead that another telecaller has is moved, as by the route.
    expect(await lead('nd-1')).toMatchObject({ telecallerId: 'b', name: 'A' })
  })

  test('a column that is not there leaves as it is what an empty cell clears', async () => {
    await imported('lead_id,telecaller_id,name\nleft,a,Asha\ncleared,a,Ravi\nempty,a,Uma\n')
    await imported('lead_id,telecaller_id\nleft,b\n')
    await imported('lead_id,telecaller_id,name\ncleared,b,\nempty,b,""\n')
    expect(await lead('left')).toMatchObject({ telecallerId: 'b', name: 'Asha' })
    expect(await lead('cleared')).toMatchObject({ telecallerId: 'b', name: null })
    expect(await lead('empty')).toMatchObject({ telecallerId: 'b', name: '' })
  })

  test('done again, it finds all unchanged and writes nothing; a call is never taken from another lead', async () => {
    const text = 'lead_id,telecaller_id,call_log_id,duration_seconds\nag-1,a,ag-c,5\nag-2,a,,\n'
    expect((await imported(text)).sums).toMatchObject({ leads: counts(2), calls: counts(1) })
    const before = await lead('ag-1')
    const again = await imported(text)
    expect(again).toMatchObject({ code: 0, sums: { leads: counts(0, 0, 2), calls: counts(0, 0, 1) } })
    expect(await lead('ag-1')).toEqual(before)
    const stolen = await imported('lead_id,call_log_id\nag-2,ag-c\n')
    expect(stolen).toMatchObject({ code: 1, refused: [[2, 'This call log belongs to another lead.']] })
    expect(await call('ag-c')).toMatchObject({ leadId: 'ag-1' })
  })

  test('--dry-run tells the same as the import does then, also of rows that others refer to, and writes nothing', async () => {
    await imported('lead_id,telecaller_id,call_log_id\ndry-1,a,dry-c1\n')
    const text =
      'lead_id,telecaller_id,call_log_id,duration_seconds\n' +
      'dry-1,b,,\ndry-2,a,,\ndry-2,,dry-c2,7\ndry-3,,dry-c3,7\ndry-2,,dry-c1,\ndry-1,b,dry-c1,\ndry-2,c,dry-c2,8\n'
    const trial = await imported(text, { dryRun: true })
    expect(trial.lines.slice(-2)).toEqual(['refused  2, named above; all others would be taken', 'nothing was done'])
    expect(await lead('dry-2')).toBeUndefined()
    expect(await lead('dry-1')).toMatchObject({ telecallerId: 'a' })
    const real = await imported(text)
    expect(real.sums).toEqual({ ...trial.sums, dry_run: false })
    expect(real.refused).toEqual(trial.refused)
    expect(real.sums).toMatchObject({ leads: counts(1, 2, 1), calls: counts(1, 1, 1), refused: 2 })
  })

  test.for(['SIGINT', 'SIGTERM', 'SIGKILL'] as const)(
    'waiting for rows it ends at once by %s, and of a trial nothing stays behind',
    async (signal) => {
      const tmp = await mkdtemp(path.join(folder, 'tmp-'))
      const words = ['bin/call-recordings.js', 'import', '-', '--dry-run', '--json']
      const child = spawn(NODE, words, { env: { ...childEnvironment(server.dir), TMPDIR: tmp } })
      let stdout = ''
      child.stdout.on('data', (data) => {
        stdout += data
      })
      child.stdin.on('error', () => {})
      // The first hundred rows are one lot, of which one is told; the other end stays open.
      child.stdin.write(`lead_id,telecaller_id\n${'wait 1,a\n'.repeat(100)}wait-2,a\n`)
      await expect.poll(() => stdout, { timeout: 30_000 }).toContain('"line":101')
      child.kill(signal)
      const [code] = await once(child, 'close')
      expect(await readdir(tmp)).toEqual([])
      if (signal === 'SIGKILL') return
      expect(code).toBe(1)
      expect(stdout).toContain('{"type":"stopped","file":"stdin","line":101}')
      expect(stdout.trim().split('\n').at(-1)).toMatch(/^\{"type":"result","ok":false,"exit_code":1,"dry_run":true/)
    },
  )

  test('--stop-on-error writes what stands ahead of the row, and nothing behind it; --from-line goes on', async () => {
    for (const bad of ['stop-x y,a,,', 'stop-9,,stop-c9,']) {
      const head = 'lead_id,telecaller_id,call_log_id,name\n'
      const rows = Array.from({ length: 250 }, (_, i) => `stop-${bad.length}-${i},a,,`)
      rows[149] = bad
      const stopped = await imported(head + rows.join('\n'), { stopOnError: true })
      expect(stopped).toMatchObject({
        code: 1,
        sums: { leads: counts(149), refused: 1 },
        refused: [[151, expect.any(String)]],
      })
      expect(stopped.lines).toContainEqual(expect.stringMatching(/done up to line 150;.* --from-line 151$/))
      expect(await lead(`stop-${bad.length}-148`)).toBeDefined()
      expect(await lead(`stop-${bad.length}-150`)).toBeUndefined()
      const more = await imported(head + rows.join('\n'), { fromLine: 152 })
      expect(more).toMatchObject({ code: 0, sums: { leads: counts(100) } })
    }
  })

  test.for([
    ['nothing', '', undefined, 'is empty'],
    [
      'a column that is not known',
      'lead_id,telecaller,nmae\n',
      1,
      'names columns that are not known: "telecaller", "nmae"; those are lead_id,',
    ],
    ['semicolons', 'lead_id;telecaller_id\n', 1, 'names columns that are not known: "lead_id;telecaller_id"'],
    ['a column twice', 'lead_id,telecaller_id,lead_id\n', 1, 'names the column lead_id twice'],
    ['a list of JSON', '[{"lead_id":"a"}]', undefined, 'is a list of JSON'],
    ['UTF-16', Buffer.from('\ufefflead_id,telecaller_id\n', 'utf16le'), undefined, 'is no UTF-8 text'],
    [
      'Latin-1 far behind',
      Buffer.concat([Buffer.from(`lead_id,telecaller_id\n${'x,y\n'.repeat(100_000)}`), Buffer.from([0xe9])]),
      undefined,
      'is no UTF-8 text',
    ],
    [
      'a quote that is not closed',
      'lead_id,telecaller_id,name\nunclosed-1,a,A\nunclosed-2,a,"B\nunclosed-3,a,C\n',
      3,
      'a quote is opened that is never closed',
    ],
    [
      'one far ahead of the end',
      `lead_id,telecaller_id,name\nfar-1,a,A\nfar-2,a,"B\n${'far-3,a,C\n'.repeat(20_000)}`,
      3,
      'a row has more than 65536 characters: is a quote',
    ],
  ] as const)(
    'says where a file can not be read on, takes what stands ahead of it, and goes on with the next: %s',
    async ([, text, line, reason]) => {
      const next = await fileOf('lead_id,telecaller_id\nnext,a\n')
      const file = await fileOf(text as string)
      const result = await imported('', { files: [file, next] })
      expect(result.code).toBe(1)
      expect(result.refused.at(-1)).toEqual([line, expect.stringContaining(reason)])
      expect(result.sums).toMatchObject({ leads: { created: expect.any(Number) } })
      expect(await lead('next')).toBeDefined()
      for (const id of ['unclosed-1', 'far-1']) if (String(text).includes(id)) expect(await lead(id)).toBeDefined()
    },
  )

  test('a file that is not there, and a place without a database, are told before anything is done', async () => {
    const good = await fileOf('lead_id,telecaller_id\nuntouched,a\n')
    await expect(imported('', { files: [good, path.join(folder, 'none.csv')] })).rejects.toThrow(
      /none\.csv can't be read/,
    )
    expect(await lead('untouched')).toBeUndefined()
    const config = { ...server.service.config, databaseFile: path.join(folder, 'recordings.db') }
    await expect(importRows(config, { ...PLAIN, files: [good] }, said())).rejects.toThrow(/there is no database at/)
    await expect(stat(config.databaseFile)).rejects.toThrow('ENOENT')
  })

  test('a running server sees at once whose a lead is now', async () => {
    const { leadId } = await server.lead()
    const ask = async (token: string) => (await server.api('GET', `/api/leads/${leadId}/recordings`, { token })).status
    expect([await ask(server.tokens.telecaller), await ask(server.tokens.other)]).toEqual([200, 403])
    await imported(`lead_id,telecaller_id\n${leadId},telecaller-b\n`)
    expect([await ask(server.tokens.telecaller), await ask(server.tokens.other)]).toEqual([403, 200])
  })
})

test('as programs, one reads what the other writes; Ctrl-C ends between two transactions and says where', async () => {
  const out = await runCommand(['export'], server)
  expect(out).toMatchObject({ code: 0, stderr: '' })
  const other = await startService()
  const child = spawn(NODE, ['bin/call-recordings.js', 'import', '-', '--json'], { env: childEnvironment(other.dir) })
  let stdout = ''
  child.stdout.on('data', (data) => {
    stdout += data
  })
  child.stdin.write(`${out.stdout}${Array.from({ length: 300 }, (_, i) => `int-${i},a,,,,,\r\n`).join('')}`)
  await expect.poll(() => leadById(other.service.db, 'int-99'), { timeout: 30_000 }).toBeDefined()
  // It reads no further once it has stopped.
  child.stdin.on('error', () => {})
  child.kill('SIGINT')
  child.stdin.end(Array.from({ length: 30_000 }, (_, i) => `later-${i},a,,,,,\r\n`).join(''))
  const [code] = await once(child, 'close')
  const items = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  expect(code).toBe(1)
  expect(items).toContainEqual({ type: 'stopped', file: 'stdin', line: expect.any(Number) })
  expect(items.at(-1)).toMatchObject({ type: 'result', ok: false, refused: 0 })
  expect(await leadById(other.service.db, 'later-29999')).toBeUndefined()
})

test('any row comes back out of its line of CSV as it was, with those beside it', async () => {
  const pieces = fc.constantFrom(
    '"',
    '""',
    ',',
    '\n',
    '\r\n',
    '\r',
    '\t',
    ' ',
    '=',
    '+1',
    "'",
    '\ufeff',
    'प्रिया',
    '🙂',
    'a',
    '\\',
    ';',
  )
  const names = fc.oneof(
    fc.constant(null),
    fc.string(),
    fc.array(pieces, { maxLength: 8 }).map((each) => each.join('')),
  )
  const ids = fc.stringMatching(/^[\w-]{1,8}$/)
  const column = ['lead_id', 'telecaller_id', 'name'] as const
  const property = fc.asyncProperty(
    fc.array(fc.tuple(ids, ids, names), { maxLength: 6 }),
    fc.nat(40),
    async (rows, cut) => {
      const text = [column, ...rows].map((row) => csvLine(row, false)).join('')
      // A decoder gives whole characters, never a half of one.
      const characters = Array.from(text)
      const halves = [characters.slice(0, cut), characters.slice(cut)].map((half) => half.join(''))
      const read = csvRows(Readable.from(halves.filter((each) => each !== '')))
      const values: unknown[] = []
      for await (const row of read) values.push('values' in row && row.values)
      expect(values).toEqual(rows.map(([lead_id, telecaller_id, name]) => ({ lead_id, telecaller_id, name })))
    },
  )
  await fc.assert(property, { numRuns: 300 })
})

describe('export', () => {
  test.for(['csv', 'ndjson'] as const)('as %s gives what an import makes the same rows of', async (format) => {
    const names = [
      '=1+1',
      '',
      '  spaces ',
      'a,b',
      'x"y"',
      'lines\r\nand\nmore\r',
      '\ufeffmark',
      "'quote",
      'हिन्दी 🙂',
      '-',
      '\t',
    ]
    for (const [i, name] of names.entries()) {
      const body = { telecaller_id: `=cmd|' /C calc'!A${i}`, name }
      await server.api('PUT', `/api/leads/-round-${i}`, { token: server.tokens.crm, body })
      const about = {
        started_at: `2026-0${(i % 9) + 1}-01T00:00:00.${100 + i}Z`,
        duration_seconds: i / 7,
        direction: 'inbound',
      }
      await server.api('PUT', `/api/leads/-round-${i}/call-logs/_c${i}`, {
        token: server.tokens.crm,
        body: i % 2 ? about : {},
      })
    }
    const text = await exported({ format })
    const other = await startService()
    expect(await imported(text, {}, other)).toMatchObject({ code: 0, refused: [] })
    const rows = async ({ service: { db } }: TestService) => {
      const all = [...(await leadsAfter(db, '', 10_000)), ...(await callLogsAfter(db, '', 10_000))]
      return all.map(({ createdAtMs: _c, updatedAtMs: _u, ...row }) => row)
    }
    expect(await rows(other)).toEqual(await rows(server))
    expect(await exported({ format }, other)).toBe(text)
    // Apart as well.
    const [leads, calls] = [await exported({ format, what: 'leads' }), await exported({ format, what: 'calls' })]
    const third = await startService()
    const apart = [await fileOf(leads), await fileOf(calls)]
    expect(await imported('', { files: apart }, third)).toMatchObject({ code: 0, refused: [] })
    expect(await rows(third)).toEqual(await rows(server))
  })

  test('--for-spreadsheet marks as text what a spreadsheet would run', async () => {
    await imported('lead_id,telecaller_id,name\n-sheet,"=HYPERLINK(""x"")","+1"\n')
    const text = await exported({ what: 'leads', forSpreadsheet: true })
    expect(text).toMatch(/^\ufefflead_id,/)
    expect(text).toContain(`'-sheet,"'=HYPERLINK(""x"")",'+1\r\n`)
    await expect(exported({ format: 'ndjson', forSpreadsheet: true })).rejects.toThrow('--for-spreadsheet is of CSV')
  })

  test.each(['export', 'list leads', 'list leads --json'])('says where it can write no more: %s', (line) => {
    const full = openSync('/dev/full', 'w')
    const { status, stderr } = spawnSync(NODE, ['bin/call-recordings.js', ...line.split(' ')], {
      env: childEnvironment(server.service.config.dataDir),
      stdio: ['ignore', full, 'pipe'],
      encoding: 'utf8',
    })
    closeSync(full)
    expect({ status, stderr }).toEqual({
      status: 1,
      stderr: "stdout can't be written (ENOSPC): what came of it is not told\n",
    })
  })

  test('takes the place of no file', async () => {
    const file = await fileOf('mine')
    await expect(exported({ output: file })).rejects.toThrow('is there already')
    expect(await readFile(file, 'utf8')).toBe('mine')
  })
})

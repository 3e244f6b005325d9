/** What the documents say of the repository, held against it. */
import { existsSync, globSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { Command } from 'commander'
import type { Request } from 'express'
import { describe, expect, test } from 'vitest'
import { CATALOGUE } from '../src/cli/catalogue.ts'
import type { ShownRecording } from '../src/db/recordings-shown.ts'
import { type ErrorCode, STATUS } from '../src/errors.ts'
import { MEANING } from '../src/http/error-meanings.ts'
import { isId } from '../src/ids.ts'
import { listQuery, recordingJson } from '../src/recordings/recordings.ts'

const PAGES = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', ...globSync('{docs,changelog}/**/*.md')]
const textOf = (page: string) => readFileSync(page, 'utf8')

test.for(PAGES)('every path and link in %s leads somewhere', (page) => {
  const text = textOf(page)
  const named = Array.from(
    text.matchAll(/`((?:src|test|deploy|changelog|bench|bin|drizzle)\/[\w./-]+)`/g),
    ([, at = '']) => at,
  )
  // Of a change, links are as from CHANGELOG.md.
  const folder = page.startsWith('changelog/') ? '.' : path.dirname(page)
  const linked = Array.from(text.matchAll(/\]\((?!\w+:)([^)#\s]+)/g), ([, to = '']) => path.join(folder, to))
  expect([...named, ...linked].filter((place) => !existsSync(place))).toEqual([])
})

test('docs/architecture.md has a line for every room', () => {
  const rooms = readdirSync('src', { withFileTypes: true }).filter((entry) => entry.isDirectory())
  const text = textOf('docs/architecture.md')
  expect(rooms.map(({ name }) => name).filter((name) => !text.includes(`| \`src/${name}/\` |`))).toEqual([])
})

test('every test that docs/security.md and docs/deploying.md name is there', () => {
  const named = ['docs/security.md', 'docs/deploying.md'].flatMap((page) =>
    Array.from(textOf(page).matchAll(/`([\w/-]+\.test\.ts)`/g), ([, file = '']) => `${page}: ${file}`),
  )
  expect(named.length).toBeGreaterThan(30)
  const fileOf = (said: string) => path.join('test', said.replace(/^.*: (test\/)?/, ''))
  expect(named.filter((said) => !existsSync(fileOf(said)))).toEqual([])
})

test('docs/security.md says of every answer to ASVS where it is tested, or that there is none', () => {
  const text = textOf('docs/security.md')
  const rows = text.slice(text.indexOf('## ASVS 5')).match(/^\| \d.*$/gm) ?? []
  expect(rows.filter((row) => !/\.test\.ts/.test(row) && !/\| – /.test(row))).toEqual([])
})

describe('docs/api.md', () => {
  const text = textOf('docs/api.md')

  test('lists every error code with its status, once, with what the contract says that it means, and no other', () => {
    const errors = text.slice(text.indexOf('## Errors'))
    const listed = Array.from(errors.matchAll(/^\| (\d{3}) \| `(\w+)` \| (.+) \|$/gm), ([, status, code, meaning]) => [
      code,
      Number(status),
      meaning,
    ])
    expect(listed).toEqual(Object.entries(STATUS).map(([code, status]) => [code, status, MEANING[code as ErrorCode]]))
  })

  test('has the rules of ids and the limits of pages that the schemas have', () => {
    const row = (name: string) => text.split('\n').find((line) => line.startsWith(`| ${name} `)) ?? ''
    expect(row('`lead_id`, `call_log_id`')).toContain('1 to 64 of `A-Z a-z 0-9 _ -`')
    expect(['a'.repeat(64), 'Az09_-'].every(isId)).toBe(true)
    expect(['', 'a'.repeat(65), 'a.b', 'ä', 'a b'].some(isId)).toBe(false)
    const [, least, most, usual] = /from (\d+) to (\d+); (\d+) where/.exec(row('`limit`')) ?? []
    expect(listQuery.parse({}).limit).toBe(Number(usual))
    const takes = (limit: number) => listQuery.safeParse({ limit: String(limit) }).success
    expect([Number(least), Number(most)].map(takes)).toEqual([true, true])
    expect([Number(least) - 1, Number(most) + 1].map(takes)).toEqual([false, false])
  })

  test('shows a recording with every member that there is, in the order that they come', () => {
    const [, shown = ''] = /## A recording.*?```json\n(.*?)```/s.exec(text) ?? []
    const { created_at, ...row } = JSON.parse(shown)
    const req = { protocol: 'https', host: 'recordings.example' } as Request
    const recording = {
      id: row.id,
      leadId: row.lead_id,
      callLogId: row.call_log_id,
      telecallerId: row.telecaller_id,
      filename: row.filename,
      path: row.path,
      contentType: row.content_type,
      size: row.size,
      sha256: row.sha256,
      durationSeconds: row.duration_seconds,
      mediaCheck: row.media_check,
      playsInBrowsers: row.plays_in_browsers,
      createdAtMs: Date.parse(created_at),
      leadName: row.lead_name,
      callStartedAtMs: Date.parse(row.call.started_at),
      callDurationSeconds: row.call.duration_seconds,
      callDirection: row.call.direction,
    } as ShownRecording
    expect(JSON.stringify(recordingJson(recording, req, undefined), null, 2)).toBe(shown.trim())
  })
})

describe('a command line in a document', () => {
  const commands = CATALOGUE.flatMap(([, each]) => each)
  /** Every command's. */
  const COMMON = ['--json', '--help', '--env-file']
  /** Those of code: what is said in prose may have the same words. */
  const linesIn = (page: string) =>
    (textOf(page).match(/```.*?```|`[^`\n]+`/gs) ?? []).flatMap((code) =>
      Array.from(code.matchAll(/\bcall-recordings(?:\.js)? ([a-z][^\n`|#);&]*)/g), ([, line = '']) => line.trim()),
    )
  const lines = ['README.md', ...globSync('docs/*.md')].flatMap((page) =>
    linesIn(page).map((line) => [page, line] as const),
  )

  test.for(lines)('%s: call-recordings %s', ([, line]) => {
    const declared = commands.filter(({ name }) => line === name || line.startsWith(`${name} `))
    const { name, shape } = declared.sort((a, b) => b.name.length - a.name.length)[0] ?? expect.unreachable(line)
    const command = new Command(name)
    const known = (shape?.(command) ?? command).options.map(({ long }) => long)
    const given = line.match(/(?<= )--[a-z-]+/g) ?? []
    expect(given.filter((option) => ![...known, ...COMMON].includes(option))).toEqual([])
  })
})

test('CONTRIBUTING.md names scripts that there are', () => {
  const { scripts } = JSON.parse(textOf('package.json'))
  const named = Array.from(textOf('CONTRIBUTING.md').matchAll(/`npm (?:run )?([a-z][\w:]*)/g), ([, name = '']) => name)
  const npm = ['ci', 'install']
  expect(named.filter((name) => !npm.includes(name) && scripts[name] === undefined)).toEqual([])
})

describe('decision records', () => {
  const records = globSync('docs/decisions/*.md').sort()

  test.for(records)('%s has its number, a date, a status, context, decision, consequences and limits', (record) => {
    const number = Number(path.basename(record).slice(0, 4))
    const text = textOf(record)
    expect(text).toMatch(
      new RegExp(`^# ${number}\\. .+\\n\\n\\*\\*Date\\.\\*\\* \\d{4}-\\d\\d-\\d\\d\\. \\*\\*Status\\.\\*\\* \\S`),
    )
    const at = ['**Context.**', '**Decision.**', '**Consequences.**', 'What limits us: '].map((part) =>
      text.indexOf(part),
    )
    expect(at.every((position, index) => position > (at[index - 1] ?? 0))).toBe(true)
  })

  test('their numbers follow each other', () => {
    expect(records.map((record) => Number(path.basename(record).slice(0, 4)))).toEqual(
      records.map((_, index) => index + 1),
    )
  })
})

import { execFileSync } from 'node:child_process'
import { cp, mkdir, mkdtemp, readdir, readFile, rm, stat, truncate, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { PassThrough } from 'node:stream'
import BetterSqlite3 from 'better-sqlite3'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { createOutput } from '../../src/commands/output.ts'
import { createProgress, inUnits } from '../../src/commands/progress.ts'
import { sweep } from '../../src/commands/sweep.ts'
import { readConfig } from '../../src/config/config.ts'
import { openSqlite } from '../../src/db/sqlite.ts'
import { olderDatabase } from '../support/older-database.ts'
import { runCommand, startProcess } from '../support/process.ts'
import { afterwards, filesIn, jsonOf, movingClock, startService, type TestClient } from '../support/service.ts'
import { noise, tusClient } from '../support/tus.ts'

async function record(server: TestClient, bytes: Buffer) {
  const lead = await server.lead()
  const tus = tusClient(server.tokens.telecaller)
  const url = await tus.begin(lead, bytes.length)
  const res = await tus.patch(url, 0, bytes)
  const address = res.headers.get('content-location') as string
  const details = await jsonOf(await server.api('GET', `${address}/details`))
  return { lead, url, address, details, path: details.path as string }
}

async function temporary(): Promise<string> {
  const dir = await mkdtemp(path.join(tmpdir(), 'commands-'))
  afterwards(() => rm(dir, { recursive: true, force: true }))
  return dir
}

describe('verify', () => {
  test('finds every recording as it was stored, beside the running server; and tells each that is not', async () => {
    const server = await startService()
    const made: { path: string }[] = []
    for (let i = 0; i < 4; i++) made.push(await record(server, noise(50_000)))
    const sound = await runCommand(['verify'], server)
    expect(sound).toEqual({ code: 0, stdout: '4 recordings, 195.3 KiB: all as they were stored\n', stderr: '' })

    const file = (i: number) => path.join(server.dir, 'recordings', made[i]?.path as string)
    const flipped = await readFile(file(0))
    flipped[40_000] = (flipped[40_000] as number) ^ 1
    await writeFile(file(0), flipped)
    await truncate(file(1), 100)
    await rm(file(2))
    const damaged = await runCommand(['verify'], server)
    expect(damaged.code).toBe(1)
    const lines = damaged.stdout.trim().split('\n').sort()
    expect(lines).toHaveLength(4)
    expect(lines[0]).toMatch(/^4 recordings, .*: 3 damaged$/)
    expect(damaged.stdout).toContain(`${made[0]?.path}) has SHA-256`)
    expect(damaged.stdout).toContain(`${made[1]?.path}) has 100 bytes instead of 50000`)
    expect(damaged.stdout).toContain(`${made[2]?.path}) cannot be read: ENOENT`)
  })
})

describe('backup', () => {
  test('taken under load is whole, and a server started on it plays every recording that it lists', async () => {
    const server = await startProcess({ env: { RECORDINGS_MAX_UPLOADS_PER_CALLER: '1000' } })
    const tus = tusClient(server.tokens.telecaller)
    for (let i = 0; i < 10; i++) await record(server, noise(30_000))
    const lead = await server.lead()
    const half = await tus.begin(lead, 1_000)
    await tus.patch(half, 0, noise(500))
    let loading = true
    const load = async () => {
      while (loading) {
        const bytes = noise(20_000)
        const made = await tus.patch(await tus.begin(lead, bytes.length), 0, bytes)
        if (Math.random() < 0.5) await server.api('DELETE', made.headers.get('content-location') as string)
      }
    }
    const loads = [load(), load(), load()]
    const target = path.join(await temporary(), 'backup')
    const result = await runCommand(['backup', target], server)
    loading = false
    await Promise.all(loads)
    expect(result).toMatchObject({ code: 0, stderr: '' })

    const manifest = JSON.parse(await readFile(path.join(target, 'manifest.json'), 'utf8'))
    const files = await filesIn(path.join(target, 'recordings'))
    expect(manifest).toMatchObject({ format: 1, recordings: files.length })
    expect(files.length).toBeGreaterThanOrEqual(10)
    execFileSync('sha256sum', ['--check', '--strict', '--quiet', 'SHA256SUMS'], { cwd: target })
    // Links cost no room.
    const linked = await stat(path.join(target, 'recordings', files[0] as string))
    expect(linked.nlink).toBeGreaterThanOrEqual(1)

    const restored = await temporary()
    await cp(target, restored, { recursive: true })
    await server.kill()
    expect(await runCommand(['verify'], { dir: restored })).toMatchObject({ code: 0 })
    const second = await startProcess({ dir: restored })
    const again = tusClient(second.tokens.telecaller)
    const list = await jsonOf(await second.api('GET', `/api/leads/${lead.leadId}/recordings`))
    for (const recording of list.recordings as { id: string; size: number }[]) {
      const played = await second.api('GET', `/api/leads/${lead.leadId}/recordings/${recording.id}`)
      expect((await played.arrayBuffer()).byteLength).toBe(recording.size)
    }
    // What was under way is no part of it: the client begins again, and nothing is promised that is not there.
    expect((await again.head(half.replace(server.url, second.url))).status).toBe(404)
    const there = { ...lead, uploads: lead.uploads.replace(server.url, second.url) }
    const whole = await again.patch(await again.begin(there, 3_000), 0, noise(3_000))
    expect(whole.headers.get('recording-id')).not.toBeNull()
    expect(second.lines.filter((line) => line.level === 'error')).toEqual([])
  }, 60_000)

  test('says what it could not take in, and takes in the rest', async () => {
    const server = await startService()
    const lost = await record(server, noise(1_000))
    await record(server, noise(1_000))
    await rm(path.join(server.dir, 'recordings', lost.path))
    const target = path.join(await temporary(), 'backup')
    const result = await runCommand(['backup', target], server)
    expect(result.code).toBe(1)
    expect(result.stderr).toContain(`${lost.path}): its file is missing`)
    expect(await filesIn(path.join(target, 'recordings'))).toHaveLength(1)
    expect(await runCommand(['verify'], { dir: target })).toMatchObject({ code: 0 })
  })

  test('never touches a directory that is there, and leaves nothing half done', async () => {
    const server = await startService()
    const parent = await temporary()
    await mkdir(path.join(parent, 'backup'))
    expect((await runCommand(['backup', path.join(parent, 'backup')], server)).code).toBe(2)
    expect(await filesIn(parent)).toEqual([])
    const nothing = await runCommand(['backup', path.join(parent, 'other')], { dir: path.join(parent, 'backup') })
    expect(nothing.code).toBe(1)
    expect(nothing.stderr).toContain('there is no database at')
    expect(await filesIn(parent)).toEqual([])
    const missing = await runCommand(['backup', path.join(parent, 'no/such/backup')], server)
    expect(missing).toMatchObject({ code: 2, stderr: expect.stringContaining(`no directory ${parent}/no/such`) })
    for (const inside of ['backup', 'recordings/backup', 'uploads/backup']) {
      const nested = await runCommand(['backup', path.join(server.dir, inside)], server)
      expect(nested).toMatchObject({ code: 2, stderr: expect.stringContaining('which it is to be a copy of') })
    }
    expect((await runCommand(['backup', server.dir], server)).stderr).toContain('exists already')
    expect(await readdir(parent)).toEqual(['backup'])
  })
})

describe('a command on a place where no server was', () => {
  const commands = (parent: string) => [
    ['verify'],
    ['backup', path.join(parent, 'backup')],
    ['sweep', '--dry-run'],
    ['sweep', '--unknown'],
    ['sweep'],
  ]

  test('says so, and makes nothing: an empty directory, one that is missing, a database of another program', async () => {
    const parent = await temporary()
    const empty = path.join(parent, 'empty')
    const foreign = path.join(parent, 'foreign')
    await mkdir(empty)
    await mkdir(path.join(foreign, 'recordings'), { recursive: true })
    await writeFile(path.join(foreign, 'recordings.db'), noise(5_000))
    const nothing = 'there is no database at'
    const cases: [string[], string, string][] = [
      ...commands(parent).map((words): [string[], string, string] => [words, empty, nothing]),
      [['sweep'], path.join(parent, 'missing'), nothing],
      [['verify'], foreign, 'is no database of this service'],
      [['sweep', '--unknown'], foreign, 'is no database of this service'],
    ]
    const told = cases.map(async ([words, dir, said]) => {
      const result = await runCommand(words, { dir })
      expect(result, `${words} ${dir}`).toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining(said) })
      expect(result.stderr.trim().split('\n')).toHaveLength(1)
    })
    await Promise.all(told)
    expect((await readdir(parent)).sort()).toEqual(['empty', 'foreign'])
    expect(await readdir(empty)).toEqual([])
    expect(await readdir(foreign)).toEqual(['recordings', 'recordings.db'])
  })

  test('but one of another version says so in a sentence, and changes nothing', async () => {
    const [older, newer] = [await temporary(), await temporary()]
    for (const dir of [older, newer]) for (const each of ['uploads', 'recordings']) await mkdir(path.join(dir, each))
    const database = await olderDatabase(older, '_tombstones')
    database.close()
    await (await openSqlite(path.join(newer, 'recordings.db'))).close()
    const ahead = new BetterSqlite3(path.join(newer, 'recordings.db'))
    ahead.exec("INSERT INTO __drizzle_migrations (hash, created_at) VALUES ('x', 9999999999999)")
    ahead.close()
    const cases: [string, RegExp][] = [
      [older, /^\S+recordings\.db is of an older version of the service: start the server once, which brings/],
      [newer, /^\S+recordings\.db is of a newer version of the service: run the commands of that version/],
    ]
    for (const [dir, said] of cases) {
      const before = await readFile(path.join(dir, 'recordings.db'))
      const told = commands(await temporary()).map(async (words) => {
        const result = await runCommand(words, { dir })
        expect(result, `${words}`).toMatchObject({ code: 1, stdout: '', stderr: expect.stringMatching(said) })
        expect(result.stderr.trim().split('\n')).toHaveLength(1)
      })
      await Promise.all(told)
      expect((await readFile(path.join(dir, 'recordings.db'))).equals(before)).toBe(true)
    }
  })

  test('of its recordings says so, rather than that all are damaged', async () => {
    const server = await startService()
    await record(server, noise(100))
    const env = { RECORDINGS_DIR: path.join(server.dir, 'recordnigs') }
    await server.stop()
    const told = commands(await temporary()).slice(0, 4)
    const results = await Promise.all(told.map((words) => runCommand(words, { dir: server.dir, env })))
    for (const result of results) {
      expect(result).toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining('here RECORDINGS_DIR') })
    }
    expect(await readdir(server.dir)).not.toContain('recordnigs')
  })
})

describe('sweep', () => {
  const unknown = 'lead-x/call-x_20260101T000000Z_0123456789ab.wav'
  const stray = 'uploads/6b3f5d0e-7c1b-4a52-9c55-0a1b2c3d4e5f'

  async function put(dir: string, file: string) {
    await mkdir(path.dirname(path.join(dir, file)), { recursive: true })
    await writeFile(path.join(dir, file), noise(2_048))
    await utimes(path.join(dir, file), 1, 1)
  }

  test('--dry-run shows and does nothing, beside the running server; without, the server must be down', async () => {
    const server = await startService()
    await record(server, noise(100))
    await put(server.dir, `recordings/${unknown}`)
    await put(server.dir, stray)
    const shown = await runCommand(['sweep', '--dry-run'], server)
    // A file's ctime can't be set back: both are too young to be judged.
    const passedOver = '1 younger than an hour was passed over\n'
    expect(shown).toEqual({ code: 0, stdout: `${passedOver}nothing to do\n`, stderr: '' })

    const refused = await runCommand(['sweep'], server)
    expect(refused.code).toBe(1)
    expect(refused.stderr).toMatch(/^The server runs on this data directory/)

    await server.stop()
    const done = { code: 0, stdout: `${passedOver}there was nothing to do\n`, stderr: '' }
    expect(await runCommand(['sweep'], server)).toEqual(done)
    expect(await filesIn(server.dir)).toEqual(expect.arrayContaining([`recordings/${unknown}`, stray]))
  })

  test('--unknown moves what no row has ever heard of aside, an hour after it came, and leaves the rest', async () => {
    const server = await startService()
    const { path: kept } = await record(server, noise(100))
    await server.stop()
    await put(server.dir, `recordings/${unknown}`)
    const config = readConfig({ RECORDINGS_DATA_DIR: server.dir })
    const options = { dryRun: false, unknown: true, yes: true }
    const said: string[] = []
    const stdout = vi.spyOn(process.stdout, 'write').mockImplementation((text) => said.push(String(text)) > 0)
    onTestFinished(() => stdout.mockRestore())

    expect(await sweep(config, options, createOutput(false), movingClock())).toBe(0)
    expect(said).toContain('1 younger than an hour was passed over\n')
    expect((await server.files('recordings')).sort()).toEqual([kept, unknown].sort())

    const later = movingClock()
    later.advance(3_700_000)
    expect(await sweep(config, options, createOutput(false), later)).toBe(0)
    const day = new Date(later.now()).toISOString().slice(0, 10)
    expect((await server.files('recordings')).sort()).toEqual([kept, `.quarantine/${day}/${unknown}`].sort())
    expect(said.slice(-2)).toEqual([
      `set aside recordings/${unknown} (2.0 KiB): for a week in recordings/.quarantine/${day}/${unknown}\n`,
      '1 done\n',
    ])
  })

  test.for([
    ['a database that knows no recording', false, 'knows no recording'],
    ['the recordings directory of another database', true, 'Most recordings'],
  ] as const)('--unknown with %s touches none, and says why', async ([, isUsed, said]) => {
    const right = await startService()
    const { path: kept } = await record(right, noise(100))
    const env = { RECORDINGS_DIR: path.join(right.dir, 'recordings') }
    const wrong = await startService()
    if (isUsed) await record(wrong, noise(100))
    await right.stop()
    await wrong.stop()
    const result = await runCommand(['sweep', '--unknown'], { dir: wrong.dir, env })
    expect(result).toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining(said) })
    expect(await right.files('recordings')).toEqual([kept])
  })

  test('tells of what is no recording, and does the rest', async () => {
    const server = await startService()
    await record(server, noise(100))
    await server.stop()
    await mkdir(path.join(server.dir, 'recordings/lost+found'))
    await writeFile(path.join(server.dir, 'recordings/notes.txt'), 'x')
    for (const words of [['sweep', '--dry-run'], ['sweep', '--unknown', '--yes'], ['sweep']]) {
      const result = await runCommand(words, server)
      expect(result).toMatchObject({ code: 0, stderr: '' })
      expect(result.stdout).toContain('stray    recordings/lost+found:')
      expect(result.stdout).toContain('stray    recordings/notes.txt:')
      expect(result.stdout).toMatch(/nothing to do\n$/)
    }
  })
})

test('a wrong word is told, with what was meant and where it is told what there is', async () => {
  const wrong: [string[], RegExp][] = [
    [['verfiy'], /unknown command 'verfiy'\n\(Did you mean verify\?\)/],
    [['backup'], /missing required argument 'directory'/],
    [['verify', 'x'], /too many arguments/],
    [['verify', '--dry-run'], /unknown option '--dry-run'/],
    [['sweep', '--dryrun'], /unknown option '--dryrun'\n\(Did you mean --dry-run\?\)/],
    [['migrate'], /required option '--to <file>'/],
  ]
  const results = wrong.map(async ([words, said]) => {
    const result = await runCommand(words, { dir: '/nonexistent' })
    expect(result).toMatchObject({ code: 2, stdout: '', stderr: expect.stringMatching(said) })
    expect(result.stderr).toMatch(/^\(call-recordings .*--help tells/m)
  })
  await Promise.all(results)
})

describe('the progress bar', () => {
  const stream = (isTTY: boolean) => {
    const pass = Object.assign(new PassThrough({ encoding: 'utf8' }), { isTTY })
    return { stream: pass as unknown as NodeJS.WriteStream, text: () => (pass.read() as string | null) ?? '' }
  }

  test('is drawn in a terminal and wiped at the end', () => {
    const { stream: terminal, text } = stream(true)
    const progress = createProgress('verifying', 2_048, terminal)
    progress.advance(1_024)
    expect(text()).toContain('verifying ███████████████░░░░░░░░░░░░░░░ 50 %  1.0 KiB of 2.0 KiB')
    progress.done()
    expect(text()).toBe('\r\x1b[K')
  })

  test('is silent elsewhere', () => {
    const { stream: file, text } = stream(false)
    const progress = createProgress('verifying', 2_048, file)
    progress.advance(2_048)
    progress.done()
    expect(text()).toBe('')
  })

  test.for([
    [0, '0 B'],
    [1023, '1023 B'],
    [1536, '1.5 KiB'],
    [5 * 2 ** 40, '5.0 TiB'],
  ] as const)('%i bytes are %s', ([bytes, text]) => expect(inUnits(bytes)).toBe(text))
})

/** The command line as operators and their scripts meet it: help, JSON, questions, completion. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { CATALOGUE } from '../src/cli/catalogue.ts'
import { childEnvironment, NODE, runCommand } from './support/process.ts'
import { record } from './support/recordings.ts'
import { afterwards, jsonOf, startService } from './support/service.ts'

const dir = await mkdtemp(path.join(tmpdir(), 'cli-'))
afterwards(() => rm(dir, { recursive: true, force: true }))

const all = CATALOGUE.flatMap(([, declarations]) => declarations)
const objects = (stdout: string) =>
  stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)

test('help names every command with what it does, and the version is that of the package', async () => {
  const [nothing, help, version] = await Promise.all([[], ['--help'], ['--version']].map((w) => runCommand(w, { dir })))
  expect(help).toMatchObject({ code: 0, stderr: '' })
  expect(nothing).toEqual(help)
  for (const { name, summary } of all.filter((each) => !each.name.includes(' '))) {
    const [first] = summary.split(' ')
    expect(help?.stdout).toMatch(new RegExp(`^ {2}${name}\\b.* ${first}`, 'm'))
  }
  const { version: packed } = JSON.parse(await readFile('package.json', 'utf8'))
  expect(version).toEqual({ code: 0, stdout: `${packed}\n`, stderr: '' })
})

describe('--json', () => {
  test('makes of what is found an object a line, and of the outcome the last one', async () => {
    const server = await startService()
    await record(server, 'x'.repeat(1_000))
    const { id, url } = await record(server, 'y'.repeat(2_000))
    const { path: file } = (await jsonOf(await server.api('GET', `${url}/details`))) as { path: string }
    const sound = await runCommand(['verify', '--json'], server)
    expect(sound).toMatchObject({ code: 0, stderr: '' })
    expect(objects(sound.stdout)).toEqual([
      { type: 'result', ok: true, exit_code: 0, recordings: 2, bytes: 3_000, damaged: 0 },
    ])

    await writeFile(path.join(server.dir, 'recordings', file), 'z'.repeat(2_000))
    const damaged = await runCommand(['verify', '--json'], server)
    expect(damaged).toMatchObject({ code: 1, stderr: '' })
    expect(objects(damaged.stdout)).toEqual([
      expect.objectContaining({
        type: 'damaged',
        recording_id: id,
        path: file,
        fault: expect.stringMatching(/SHA-256/),
      }),
      { type: 'result', ok: false, exit_code: 1, recordings: 2, bytes: 3_000, damaged: 1 },
    ])

    const swept = await runCommand(['sweep', '--dry-run', '--json'], server)
    expect(objects(swept.stdout)).toEqual([{ type: 'result', ok: true, exit_code: 0, to_do: 0 }])
  })

  test('tells a fault in the last object, and people on stderr as ever', async () => {
    const [missing, misspelt] = await Promise.all([
      runCommand(['verify', '--json'], { dir }),
      runCommand(['sweep', '--dryrun', '--json'], { dir }),
    ])
    const [result] = objects(missing?.stdout ?? '')
    expect(result).toMatchObject({
      type: 'result',
      ok: false,
      exit_code: 1,
      error: expect.stringMatching(/no database/),
    })
    expect(missing).toMatchObject({ code: 1, stderr: `${result?.error}\n` })
    expect(misspelt).toMatchObject({ code: 2, stderr: expect.stringContaining('Did you mean --dry-run') })
    expect(objects(misspelt?.stdout ?? '')).toEqual([{ type: 'result', ok: false, exit_code: 2 }])
  })
})

test('a reader that has seen enough is no fault', async () => {
  const child = spawn(NODE, ['bin/call-recordings.js', '--help'], { env: childEnvironment(dir) })
  child.stdout.destroy()
  let said = ''
  child.stderr.on('data', (data) => {
    said += data
  })
  expect([await once(child, 'close'), said]).toEqual([[0, null], ''])
})

describe('what can not be undone', () => {
  test('needs --yes where no terminal is there to ask in, and is not done without', async () => {
    const server = await startService()
    await record(server, 'x')
    await server.stop()
    const asked = await runCommand(['sweep', '--unknown'], server)
    expect(asked).toMatchObject({
      code: 2,
      stdout: '',
      stderr: expect.stringMatching(/^This sets every .*: say so with --yes/),
    })
    expect(await runCommand(['sweep', '--unknown', '--yes'], server)).toMatchObject({ code: 0, stderr: '' })

    // `script` gives it a terminal.
    const answered = (answer: string) =>
      spawnSync('script', ['-qec', `${NODE} bin/call-recordings.js sweep --unknown`, '/dev/null'], {
        env: childEnvironment(server.dir),
        input: answer,
        encoding: 'utf8',
      })
    const no = answered('n\n')
    expect(no.stdout).toMatch(/Go on\? \[y\/N\] [\s\S]*nothing was done/)
    expect(no.status).toBe(1)
    const yes = answered('y\n')
    expect(yes.stdout).toMatch(/there was nothing to do/)
    expect(yes.status).toBe(0)
  })
})

describe('completion', () => {
  test.for([
    ['bash', /complete -F \w+ call-recordings/],
    ['zsh', /#compdef call-recordings/],
    ['fish', /complete -c call-recordings/],
  ] as const)('of %s is printed', async ([shell, said]) => {
    expect(await runCommand(['complete', shell], { dir })).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(said),
      stderr: '',
    })
  })

  test('answers with the commands and options that begin so', async () => {
    const [commands, options] = await Promise.all([
      runCommand(['complete', '--', 've'], { dir }),
      runCommand(['complete', '--', 'sweep', '--'], { dir }),
    ])
    expect(commands?.stdout).toMatch(/^verify\t/m)
    expect(options?.stdout).toMatch(/^--dry-run\t[\s\S]*^--unknown\t/m)
  })

  test('of another shell is refused', async () => {
    expect(await runCommand(['complete', 'tcsh'], { dir })).toMatchObject({ code: 2 })
  })
})

/** The command line as operators and their scripts meet it: help, JSON, questions, completion. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { decodeJwt } from 'jose'
import { describe, expect, test } from 'vitest'
import { CATALOGUE } from '../src/cli/catalogue.ts'
import { createOutput } from '../src/commands/output.ts'
import { token as sign } from '../src/commands/token.ts'
import { UsageError } from '../src/commands/usage-error.ts'
import { readConfig } from '../src/config/config.ts'
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
  const listed = Array.from(help?.stdout.matchAll(/^ {2}([a-z-]+) .*\S/gm) ?? [], ([, name]) => name)
  const names = new Set(all.map(({ name }) => name.split(' ')[0]))
  expect(listed).toEqual([...names, 'help'])
  const { version: packed } = JSON.parse(await readFile('package.json', 'utf8'))
  expect(version).toEqual({ code: 0, stdout: `${packed}\n`, stderr: '' })
})

test('help of each command has an example to copy, and its exit codes', async () => {
  const told = all.map(async ({ name, examples: [[example]] }) => {
    const { code, stdout, stderr } = await runCommand([...name.split(' '), '--help'], { dir })
    expect([code, stderr]).toEqual([0, ''])
    expect(stdout).toMatch(new RegExp(`^Usage: call-recordings ${name}\\b`))
    expect(stdout).toContain(`  call-recordings ${example}\n`)
    expect(stdout).toMatch(/Exit codes:\n {2}0 /)
  })
  await Promise.all(told)
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
      { type: 'result', ok: true, exit_code: 0, recordings: 2, bytes: 3_000, damaged: 0, of: 2 },
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
      { type: 'result', ok: false, exit_code: 1, recordings: 2, bytes: 3_000, damaged: 1, of: 2 },
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
    expect(misspelt?.stderr.match(/unknown option/g)).toHaveLength(1)
    expect(objects(misspelt?.stdout ?? '')).toEqual([
      { type: 'result', ok: false, exit_code: 2, error: "unknown option '--dryrun'\n(Did you mean --dry-run?)" },
    ])
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

test('completion is printed for each shell, and answers with the commands and options that begin so', async () => {
  const words = [['bash'], ['zsh'], ['fish'], ['tcsh'], ['--', 've'], ['--', 'sweep', '--']]
  const [bash, zsh, fish, tcsh, commands, options] = await Promise.all(
    words.map((each) => runCommand(['complete', ...each], { dir })),
  )
  expect(bash).toMatchObject({ code: 0, stdout: expect.stringMatching(/complete -F \w+ call-recordings/), stderr: '' })
  expect(zsh).toMatchObject({ code: 0, stdout: expect.stringMatching(/#compdef call-recordings/), stderr: '' })
  expect(fish).toMatchObject({ code: 0, stdout: expect.stringMatching(/complete -c call-recordings/), stderr: '' })
  expect(tcsh).toMatchObject({ code: 2 })
  expect(commands?.stdout).toMatch(/^verify\t/m)
  expect(options?.stdout).toMatch(/^--dry-run\t[\s\S]*^--unknown\t/m)
})

describe('token', () => {
  const token = (words: string[], env: Record<string, string> = {}) => runCommand(['token', ...words], { dir, env })

  test('signs with the secret of the server, for so long, and prints the token alone', async () => {
    const server = await startService()
    const settings = { RECORDINGS_JWT_ISSUER: 'https://crm.example', RECORDINGS_JWT_AUDIENCE: 'recordings' }
    const [asha, crm] = await Promise.all([
      token(['--sub', 'asha']),
      token(['--sub', 'auth0|crm', '--role', 'service', '--for', '7d', '--json'], settings),
    ])
    expect(asha).toMatchObject({ code: 0, stderr: '' })
    const me = await server.api('PUT', '/api/leads/lead-of-asha', {
      token: asha?.stdout.trim() ?? '',
      body: { telecaller_id: 'asha' },
    })
    expect(me.status).toBe(403) // known, and no service
    const [result] = objects(crm?.stdout ?? '')
    expect(result).toMatchObject({ type: 'result', ok: true, sub: 'auth0|crm', role: 'service' })
    const claims = decodeJwt(result?.token as string)
    expect(claims).toMatchObject({ sub: 'auth0|crm', role: 'service', iss: 'https://crm.example', aud: 'recordings' })
    expect((claims.exp as number) - (claims.iat as number)).toBe(7 * 86_400)
  })

  test('says who mints where public keys are configured, and what to do where no secret is yet', async () => {
    const env = { RECORDINGS_JWT_SECRET: '', RECORDINGS_JWKS_URL: 'https://login.example/keys' }
    const [keys, none] = await Promise.all([
      token(['--sub', 'asha'], env),
      token(['--sub', 'asha'], { RECORDINGS_JWT_SECRET: '' }),
    ])
    expect(keys).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringMatching(/RECORDINGS_JWKS_URL names \(https:\/\/login\.example\): ask it/),
    })
    expect(none).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringMatching(/no secret at .*: start the server once/),
    })
  })

  test('in production needs --yes', async () => {
    const env = { NODE_ENV: 'production' }
    const [without, said] = await Promise.all([token(['--sub', 'asha'], env), token(['--sub', 'asha', '--yes'], env)])
    expect(without).toMatchObject({ code: 2, stdout: '', stderr: expect.stringMatching(/login for production.*--yes/) })
    expect(said).toMatchObject({ code: 0, stdout: expect.stringMatching(/^eyJ/) })
  })

  test.for([
    [{ role: 'admin' }, /--role is `admin`: expected one of telecaller, supervisor, service/],
    [{ for: '1 hour' }, /--for is `1 hour`: expected a time such as/],
    [{ for: '400d' }, /at most 365d/],
    [{ sub: 'a\nb' }, /--sub is a name of 1 to 255 characters/],
  ] as const)('of %j is refused', async ([wrong, said]) => {
    const options = { sub: 'asha', role: 'telecaller', for: '1h', yes: false, ...wrong }
    const refused = sign(readConfig({}), options, createOutput(false))
    await expect(refused).rejects.toThrow(said)
    await expect(refused).rejects.toBeInstanceOf(UsageError)
  })
})

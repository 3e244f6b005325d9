/** Forty ways to get the settings wrong: each is told in a sentence that says what to do, and all of them at once. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import type { Environment } from '../src/config/config.ts'
import { runCommand } from './support/process.ts'
import { afterwards } from './support/service.ts'
import { faultsOf } from './support/settings.ts'

const KEY = 'forty characters that are long enough..'
const CLOUD = {
  RECORDINGS_DATABASE_URL: 'postgres://calls@db.example/calls',
  RECORDINGS_STORE: 's3://calls',
  RECORDINGS_JWT_SECRET: KEY,
  RECORDINGS_PLAYBACK_LINK_SECRET: `another, ${KEY}`,
}

/** Wrong by themselves: the value, and what the sentence names as a way out. */
const ALONE: readonly (readonly [name: string, value: string, wayOut: RegExp])[] = [
  ['NODE_ENV', 'prod', /expected `production` spelt out/],
  ['HOST', 'http://0.0.0.0', /expected an address or a host name such as 127\.0\.0\.1/],
  ['PORT', '80a', /expected a whole number from 0 to 65535/],
  ['LOG_LEVEL', 'verbose', /expected one of fatal, error, warn, info/],
  ['RECORDINGS_DATABASE_URL', 'mysql://db/calls', /expected an address such as postgres:\/\/user:password@host/],
  ['RECORDINGS_DATABASE_CONNECTIONS', '0', /expected a whole number from 1 to 1000/],
  ['RECORDINGS_DATABASE_READ_CONNECTIONS', 'two', /expected a whole number from 1 to 100/],
  ['RECORDINGS_DATABASE_STATEMENT_TIMEOUT', '1h', /expected a time such as .*, at most 10m/],
  ['RECORDINGS_STORE', 'https://s3.example/calls', /expected a bucket .*such as s3:\/\/calls\/production/],
  ['RECORDINGS_S3_ENDPOINT', 's3.example', /expected an http or https address without a path, such as https/],
  ['RECORDINGS_S3_REGION', 'eu central', /expected a region such as eu-central-1/],
  ['RECORDINGS_S3_PATH_STYLE', 'yes', /expected true or false/],
  ['RECORDINGS_UPLOAD_MEMORY', '1MiB', /expected a size in bytes such as .*, at least 64MiB/],
  ['RECORDINGS_JWT_SECRET', 'changeme', /not shown.*expected 32 bytes or more.*openssl rand/],
  ['RECORDINGS_JWKS_URL', 'login.example/keys', /expected an http or https address without credentials/],
  ['RECORDINGS_JWT_ISSUER', '"https://login.example"', /in quotes: expected what is between them/],
  ['RECORDINGS_JWT_ALGORITHMS', 'none', /expected one or more of HS256/],
  ['RECORDINGS_CHUNK_SIZE', '1MB', /expected a size in bytes such as 1048576 or 8MiB/],
  ['RECORDINGS_MAX_CHUNK_SIZE', '1GiB', /expected a size in bytes .*, at most 256MiB/],
  ['RECORDINGS_MAX_UPLOAD_SIZE', '0', /expected a size in bytes .*, at least 1/],
  ['RECORDINGS_UPLOAD_EXPIRES_AFTER', '1 day', /expected a time such as 500ms, 30s, 10m, 24h or 7d/],
  ['RECORDINGS_IDLE_TIMEOUT', '60', /expected a time such as .*, at least 1ms/],
  ['RECORDINGS_MIN_FREE_SPACE', '5%', /expected a size in bytes/],
  ['RECORDINGS_MAX_UPLOADS_PER_CALLER', '-1', /expected a whole number from 1 to 1000000/],
  ['RECORDINGS_MEDIA_DEADLINE', '0s', /expected a time such as .*, at least 1ms, at most 10m/],
  ['RECORDINGS_SHUTDOWN_GRACE', '30d', /expected a time such as .*, at most 24d/],
  ['RECORDINGS_ACCEL_REDIRECT', 'protected', /expected a path .* that starts with \/, such as \/protected\//],
  ['RECORDINGS_PUBLIC_URL', 'calls.example', /expected an http or https address .*such as https:\/\/calls\.example\//],
  ['RECORDINGS_TRUST_PROXY', 'nginx', /expected true, false, the number of proxies, or addresses/],
  ['RECORDINGS_CORS_ORIGINS', 'https://crm.example/', /expected `\*`, `none`, or exact origins/],
  ['RECORDINGS_PLAYBACK_LINK_SECRET', 'short', /not shown.*expected 32 bytes or more/],
  ['RECORDINGS_PLAYBACK_REDIRECT', '8d', /expected a time such as .*, at most 7d/],
  ['RECORDINGS_PLAYBACK_LINK_EXPIRES_AFTER', 'never', /expected a time such as/],
  ['RECORDINGS_DATADIR', '/srv/calls', /no setting; did you mean RECORDINGS_DATA_DIR\?/],
  ['RECORDINGS_COLOUR', 'red', /no setting: remove it, or see docs\/operating\.md/],
  ['RECORDINGS_SERVICE_HOST', '10.0.0.1', /Kubernetes sets it.*expected enableServiceLinks: false/],
]

/** Sound each by itself. */
const TOGETHER: readonly (readonly [env: Environment, wayOut: RegExp])[] = [
  [{ NODE_ENV: 'production' }, /none of RECORDINGS_JWT_SECRET, .* is given: expected one of them/],
  [
    { RECORDINGS_JWT_SECRET: KEY, RECORDINGS_JWKS_URL: 'https://login.example/keys' },
    /RECORDINGS_JWT_SECRET and RECORDINGS_JWKS_URL are given: expected one of them/,
  ],
  [
    { RECORDINGS_JWKS_FILE: 'keys.json', RECORDINGS_JWT_ALGORITHMS: 'HS256' },
    /HS256 does not go with RECORDINGS_JWKS_FILE: expected among RS256/,
  ],
  [{ RECORDINGS_JWT_SECRET: KEY, RECORDINGS_JWT_ALGORITHMS: 'HS512' }, /needs a secret of 64 bytes.*: expected among/],
  [{ RECORDINGS_CHUNK_SIZE: '16MiB' }, /expected no more than RECORDINGS_MAX_CHUNK_SIZE, 8388608 bytes/],
  [
    { RECORDINGS_DIR: '/srv', RECORDINGS_UPLOADS_DIR: '/srv/uploads' },
    /inside each other: expected separate directories/,
  ],
  [{ RECORDINGS_DATA_DIR: '/srv/data', RECORDINGS_DIR: '/srv' }, /expected a directory that does not hold/],
  [{ RECORDINGS_STORE: 's3://calls' }, /expected RECORDINGS_DATABASE_URL with it/],
  [{ RECORDINGS_S3_REGION: 'eu-1' }, /expected RECORDINGS_STORE with it/],
  [{ ...CLOUD, RECORDINGS_ACCEL_REDIRECT: '/sent/' }, /expected none beside RECORDINGS_STORE/],
  [{ ...CLOUD, RECORDINGS_PLAYBACK_LINK_SECRET: '' }, /expected one beside RECORDINGS_DATABASE_URL, the same for all/],
  [{ ...CLOUD, RECORDINGS_PLAYBACK_LINK_SECRET: KEY }, /are the same: expected two/],
]

test('there are forty and more', () => expect(ALONE.length + TOGETHER.length).toBeGreaterThanOrEqual(40))

test.for(ALONE)('%s=%s', ([name, value, wayOut]) => {
  expect(faultsOf({ [name]: value })).toContainEqual(expect.stringMatching(wayOut))
})

test.for(TOGETHER)('%j', ([env, wayOut]) => {
  expect(faultsOf(env)).toContainEqual(expect.stringMatching(wayOut))
})

describe('config check', async () => {
  const dir = await mkdtemp(path.join(tmpdir(), 'config-check-'))
  afterwards(() => rm(dir, { recursive: true, force: true }))

  test('tells all faults in one message, marks the settings that they are of, and shows no secret', async () => {
    const wrong = Object.fromEntries(ALONE.map(([name, value]) => [name, value]))
    const { code, stdout, stderr } = await runCommand(['config', 'check'], { dir, env: wrong })
    expect(code).toBe(1)
    const [first, ...told] = stderr.trim().split('\n')
    expect(first).toMatch(/^The settings have \d+ faults:$/)
    for (const [name, , wayOut] of ALONE) {
      expect(told).toContainEqual(expect.stringMatching(new RegExp(`^ {2}${name} is .*${wayOut.source}`)))
    }
    expect(stdout).toMatch(/^PORT +WRONG +80a$/m)
    expect(stdout).toMatch(/^RECORDINGS_JWT_SECRET +WRONG +not shown$/m)
    expect(stdout + stderr).not.toContain('changeme')
  })

  test('looks at directories and the file of keys too, and makes nothing', async () => {
    await writeFile(path.join(dir, 'file'), '')
    const env = {
      RECORDINGS_DATA_DIR: path.join(dir, 'none'),
      RECORDINGS_DIR: path.join(dir, 'file'),
      RECORDINGS_JWT_SECRET: '',
      RECORDINGS_JWKS_FILE: path.join(dir, 'file'),
    }
    const { code, stdout } = await runCommand(['config', 'check', '--json'], { dir, env })
    expect(code).toBe(1)
    const objects = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>)
    expect(objects.at(-1)).toMatchObject({
      type: 'result',
      ok: false,
      faults: [
        expect.stringMatching(/^RECORDINGS_DIR is .* no directory .*: expected a directory .*; make it and give it/),
        expect.stringMatching(/^RECORDINGS_JWKS_FILE is .*: it is empty: expected a JSON Web Key Set/),
      ],
    })
    await expect(rm(path.join(dir, 'none'))).rejects.toThrow('ENOENT')
  })

  test('of sound settings shows each in effect and where it comes from, secrets aside', async () => {
    const file = path.join(dir, 'settings.env')
    await mkdir(path.join(dir, 'data'))
    await writeFile(file, `PORT=8080\nRECORDINGS_DATABASE_CONNECTIONS=9\nRECORDINGS_JWT_SECRET=not of this one\n`)
    const { code, stdout, stderr } = await runCommand(['config', 'check', '--json', '--env-file', file], { dir })
    expect([code, stderr]).toEqual([0, ''])
    const objects = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>)
    const setting = (name: string) => objects.find((each) => each.name === name)
    // The environment has the last word.
    expect(setting('PORT')).toMatchObject({ value: '0', source: 'environment', wrong: false })
    expect(setting('RECORDINGS_DATABASE_CONNECTIONS')).toMatchObject({ value: '9', source: 'environment' })
    expect(setting('RECORDINGS_IDLE_TIMEOUT')).toMatchObject({ value: '60s', source: 'default' })
    expect(setting('RECORDINGS_UPLOADS_DIR')).toMatchObject({ value: path.join(dir, 'uploads'), source: 'follows' })
    expect(setting('RECORDINGS_JWT_SECRET')).toMatchObject({ value: 'not shown', source: 'environment' })
    expect(setting('RECORDINGS_JWT_ALGORITHMS')).toMatchObject({ value: 'HS256', source: 'follows' })
    expect(setting('RECORDINGS_STORE')).toMatchObject({ value: null, source: 'none' })
    expect(objects.at(-1)).toMatchObject({ ok: true, faults: [] })
  })
})

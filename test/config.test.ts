import path from 'node:path'
import { inspect } from 'node:util'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Config, ConfigError, type Environment, readConfig } from '../src/config/config.ts'
import { faultsOf } from './support/settings.ts'

const SECRET = 'a secret that nobody may ever see, of 52 bytes total'
const MiB = 2 ** 20

/** One setting's value read, or the one fault that it makes. */
function reading<T>(name: string, text: string, value: (config: Config) => T): T | string {
  const faults = faultsOf({ [name]: text })
  return faults.length > 0 ? faults.join('\n') : value(readConfig({ [name]: text }))
}

describe('nothing set', () => {
  test('is all defaults outside production', () => {
    const dataDir = path.resolve('data')
    expect(readConfig({})).toEqual({
      production: false,
      host: '127.0.0.1',
      port: 3000,
      dataDir,
      databaseFile: path.join(dataDir, 'recordings.db'),
      recordingsDir: path.join(dataDir, 'recordings'),
      uploadsDir: path.join(dataDir, 'uploads'),
      auth: { key: { kind: 'made', file: path.join(dataDir, 'jwt-secret') }, algorithms: ['HS256'] },
      uploads: {
        chunkSize: MiB,
        maxChunkSize: 8 * MiB,
        maxBytes: 1024 * MiB,
        expiresAfterMs: 86_400_000,
        idleTimeoutMs: 60_000,
        minFreeBytes: 256 * MiB,
        maxPerCaller: 64,
      },
      mediaDeadlineMs: 3_000,
      shutdownGraceMs: 20_000,
      playback: { linkExpiresAfterMs: 600_000 },
      trustProxy: false,
      cors: '*',
      metrics: { at: 'open' },
      logLevel: 'info',
    })
  })

  test('is a start refused in production, for want of a key', () => {
    expect(faultsOf({ NODE_ENV: 'production' })).toEqual([
      'none of RECORDINGS_JWT_SECRET, RECORDINGS_JWKS_URL, RECORDINGS_JWKS_FILE is given: expected one of them in production',
    ])
  })

  test('is what empty settings are', () => {
    const empty = Object.fromEntries(
      'HOST PORT RECORDINGS_DIR RECORDINGS_JWT_SECRET RECORDINGS_CHUNK_SIZE LOG_LEVEL RECORDINGS_UNKNOWN'
        .split(' ')
        .map((name) => [name, '']),
    )
    expect(readConfig(empty)).toEqual(readConfig({}))
    expect(readConfig({ PORT: '  ', RECORDINGS_PUBLIC_URL: ' ' })).toEqual(readConfig({}))
  })
})

test('production with a key lets no other origin in, and says so', () => {
  const config = readConfig({ NODE_ENV: 'production', RECORDINGS_JWT_SECRET: SECRET })
  expect(config).toMatchObject({ production: true, cors: [], auth: { key: { kind: 'secret' } } })
})

test.for(['prod', 'Production', 'PRODUCTION'])('NODE_ENV=%s is no quiet development', (text) => {
  expect(faultsOf({ NODE_ENV: text })).toEqual([
    `NODE_ENV is \`${text}\`: expected \`production\` spelt out, or another word for another environment`,
  ])
})

test('every setting is taken', () => {
  const config = readConfig({
    NODE_ENV: 'production',
    HOST: '::',
    PORT: '8080',
    RECORDINGS_DATA_DIR: '/srv/calls',
    RECORDINGS_DIR: '/mnt/recordings',
    RECORDINGS_UPLOADS_DIR: '/var/uploads',
    RECORDINGS_JWKS_URL: 'https://id.example/keys?v=1',
    RECORDINGS_JWT_ISSUER: 'https://id.example',
    RECORDINGS_JWT_AUDIENCE: 'recordings',
    RECORDINGS_JWT_ALGORITHMS: 'ES256, RS256',
    RECORDINGS_CHUNK_SIZE: '2MiB',
    RECORDINGS_MAX_CHUNK_SIZE: '16MiB',
    RECORDINGS_MAX_UPLOAD_SIZE: '5GiB',
    RECORDINGS_UPLOAD_EXPIRES_AFTER: '7d',
    RECORDINGS_IDLE_TIMEOUT: '500ms',
    RECORDINGS_MIN_FREE_SPACE: '0',
    RECORDINGS_MAX_UPLOADS_PER_CALLER: '1',
    RECORDINGS_MEDIA_DEADLINE: '1500ms',
    RECORDINGS_SHUTDOWN_GRACE: '0s',
    RECORDINGS_ACCEL_REDIRECT: '/protected',
    RECORDINGS_PUBLIC_URL: 'https://calls.example/voice',
    RECORDINGS_TRUST_PROXY: 'loopback,10.0.0.0/8',
    RECORDINGS_CORS_ORIGINS: 'https://crm.example http://localhost:5173',
    RECORDINGS_PLAYBACK_LINK_EXPIRES_AFTER: '1h',
    LOG_LEVEL: 'warn',
  })
  expect(config).toEqual({
    production: true,
    host: '::',
    port: 8080,
    dataDir: '/srv/calls',
    databaseFile: '/srv/calls/recordings.db',
    recordingsDir: '/mnt/recordings',
    uploadsDir: '/var/uploads',
    auth: {
      key: { kind: 'jwks-url', url: new URL('https://id.example/keys?v=1') },
      issuer: 'https://id.example',
      audience: 'recordings',
      algorithms: ['ES256', 'RS256'],
    },
    uploads: {
      chunkSize: 2 * MiB,
      maxChunkSize: 16 * MiB,
      maxBytes: 5 * 1024 * MiB,
      expiresAfterMs: 7 * 86_400_000,
      idleTimeoutMs: 500,
      minFreeBytes: 0,
      maxPerCaller: 1,
    },
    mediaDeadlineMs: 1_500,
    shutdownGraceMs: 0,
    playback: { accelRedirect: '/protected/', linkExpiresAfterMs: 3_600_000 },
    publicUrl: new URL('https://calls.example/voice/'),
    trustProxy: 'loopback, 10.0.0.0/8',
    cors: ['https://crm.example', 'http://localhost:5173'],
    logLevel: 'warn',
  })
})

describe('a home elsewhere', () => {
  const DATABASE = 'postgres://calls:pass-word@db.example:5433/calls?sslmode=require'
  const database = {
    RECORDINGS_DATABASE_URL: DATABASE,
    RECORDINGS_JWT_SECRET: SECRET,
    RECORDINGS_PLAYBACK_LINK_SECRET: 'another secret, also of thirty-two bytes or more',
  }
  const both = { ...database, RECORDINGS_STORE: 's3://calls' }

  test('is a database and a store, both as they are named', () => {
    const config = readConfig({
      ...both,
      RECORDINGS_STORE: 's3://calls.example/production/mumbai/',
      RECORDINGS_S3_ENDPOINT: 'http://127.0.0.1:9000',
      RECORDINGS_S3_REGION: 'ap-south-1',
      RECORDINGS_S3_PATH_STYLE: 'false',
      RECORDINGS_UPLOAD_MEMORY: '1GiB',
    })
    expect(config.postgres?.url.text).toBe(DATABASE)
    expect(config.store).toEqual({
      bucket: 'calls.example',
      prefix: 'production/mumbai/',
      endpoint: 'http://127.0.0.1:9000',
      region: 'ap-south-1',
      pathStyle: false,
      memoryBytes: 1024 * MiB,
    })
  })

  test('has Amazon’s addresses by host name, and those of another server by path, unless it is said', () => {
    expect(readConfig(both).store).toEqual({ bucket: 'calls', prefix: '', pathStyle: false, memoryBytes: 256 * MiB })
    expect(readConfig({ ...both, RECORDINGS_S3_ENDPOINT: 'https://s3.example/' }).store).toMatchObject({
      endpoint: 'https://s3.example',
      pathStyle: true,
    })
  })

  test.for([
    [{ RECORDINGS_STORE: 's3://calls' }, /^RECORDINGS_STORE is given: expected RECORDINGS_DATABASE_URL with it, since/],
    [database, /^RECORDINGS_DATABASE_URL is given: expected RECORDINGS_STORE with it, since/],
    [{ RECORDINGS_S3_REGION: 'eu-1' }, /^RECORDINGS_S3_REGION is given: expected RECORDINGS_STORE with it/],
    [{ ...both, RECORDINGS_DIR: '/srv/calls' }, /^RECORDINGS_DIR is given: expected none beside RECORDINGS_STORE/],
    [{ ...both, RECORDINGS_ACCEL_REDIRECT: '/sent/' }, /^RECORDINGS_ACCEL_REDIRECT is given: expected none beside/],
  ] as const)('is refused by halves: %j', ([env, said]) => {
    expect(faultsOf(env)).toEqual([expect.stringMatching(said)])
  })

  test.for([
    's3://',
    's3://Calls',
    's3://a',
    'https://calls',
    's3://calls/../other',
    's3://calls//b',
    's3://calls/a b',
  ])('has no bucket %s', (text) =>
    expect(faultsOf({ ...both, RECORDINGS_STORE: text })[0]).toMatch(/^RECORDINGS_STORE is .*: expected/),
  )

  test.for(['s3.example', 'https://s3.example/path', 'https://key:secret@s3.example', 'ftp://s3.example'])(
    'has no server at %s',
    (text) => expect(faultsOf({ ...both, RECORDINGS_S3_ENDPOINT: text })[0]).toMatch(/^RECORDINGS_S3_ENDPOINT is /),
  )

  test('never shows the password of its database', () => {
    const config = readConfig(both)
    for (const text of [inspect(config, { depth: 9 }), JSON.stringify(config), `${config.postgres?.url}`]) {
      expect(text).not.toContain('pass-word')
    }
    for (const text of ['postgres:/calls:pass-word@db', 'postgres://calls:pass-word/@db', 'pass-word']) {
      expect(faultsOf({ ...both, RECORDINGS_DATABASE_URL: text }).join()).toMatch(/^RECORDINGS_DATABASE_URL(?!.*pass-)/)
    }
  })

  test('needs memory for a few bodies', () => {
    expect(faultsOf({ RECORDINGS_UPLOAD_MEMORY: '63MiB' })[0]).toMatch(/at least 64MiB/)
  })
})

describe('a size', () => {
  test.for([
    ['1', 1],
    ['1048576', MiB],
    ['12B', 12],
    ['3KiB', 3072],
    ['8MiB', 8 * MiB],
    ['8 mib', 8 * MiB],
    [' 2GiB ', 2048 * MiB],
    ['1TiB', MiB * MiB],
  ] as const)('%j is %i bytes', ([text, bytes]) => {
    expect(reading('RECORDINGS_MAX_UPLOAD_SIZE', text, (config) => config.uploads.maxBytes)).toBe(bytes)
  })

  test.for(['0', '-1', '1.5MiB', '8MB', '8M', 'MiB', '1e6', '0x10', '9007199254740992', '9000000TiB', '1MiB2', '٣MiB'])(
    '%j is none',
    (text) => {
      expect(faultsOf({ RECORDINGS_MAX_UPLOAD_SIZE: text })).toEqual([
        `RECORDINGS_MAX_UPLOAD_SIZE is \`${text}\`: expected a size in bytes such as 1048576 or 8MiB, at least 1`,
      ])
    },
  )

  test('of a chunk has an end, since it is held in memory', () => {
    const chunkSize = (text: string) =>
      reading('RECORDINGS_MAX_CHUNK_SIZE', text, (config) => config.uploads.maxChunkSize)
    expect(chunkSize('256MiB')).toBe(256 * MiB)
    expect(chunkSize('257MiB')).toMatch(/^RECORDINGS_MAX_CHUNK_SIZE is `257MiB`: expected .*, at most 256MiB$/)
  })

  test('of any count and unit is their product', () => {
    const units = { '': 1, B: 1, KiB: 1024, MiB, GiB: 1024 * MiB }
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1e6 }),
        fc.constantFrom(...Object.entries(units)),
        (count, [unit, scale]) => {
          expect(readConfig({ RECORDINGS_MAX_UPLOAD_SIZE: `${count}${unit}` }).uploads.maxBytes).toBe(count * scale)
        },
      ),
    )
  })
})

describe('a time', () => {
  test.for([
    ['500ms', 500],
    ['30s', 30_000],
    ['10m', 600_000],
    ['24h', 86_400_000],
    ['7d', 604_800_000],
    ['3650d', 3650 * 86_400_000],
  ] as const)('%j is %i ms', ([text, ms]) => {
    expect(reading('RECORDINGS_UPLOAD_EXPIRES_AFTER', text, (config) => config.uploads.expiresAfterMs)).toBe(ms)
  })

  test.for(['30', '0s', '-1s', '1.5h', '1w', '1H', '10 min', 's', '3651d', '1h30m'])('%j is none', (text) => {
    expect(faultsOf({ RECORDINGS_UPLOAD_EXPIRES_AFTER: text })).toEqual([
      `RECORDINGS_UPLOAD_EXPIRES_AFTER is \`${text}\`: expected a time such as 500ms, 30s, 10m, 24h or 7d, at least 1ms, at most 3650d`,
    ])
  })

  test('that a timer waits for is no longer than a timer can wait', () => {
    expect(reading('RECORDINGS_IDLE_TIMEOUT', '24d', (config) => config.uploads.idleTimeoutMs)).toBe(2_073_600_000)
    expect(faultsOf({ RECORDINGS_IDLE_TIMEOUT: '25d', RECORDINGS_SHUTDOWN_GRACE: '25d' })).toHaveLength(2)
  })
})

describe('the key', () => {
  test('is the bytes of the secret, as they stand', () => {
    const text = ` ${'ü'.repeat(16)} `
    const { key } = readConfig({ RECORDINGS_JWT_SECRET: text }).auth
    expect(key.kind === 'secret' && Buffer.from(key.secret).toString()).toBe(text)
  })

  test.for(['x'.repeat(31), 'short', '-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A\n'])(
    'is no secret of %j',
    (text) => {
      const [fault = '', ...others] = faultsOf({ RECORDINGS_JWT_SECRET: text })
      expect(others).toEqual([])
      expect(fault).toMatch(/^RECORDINGS_JWT_SECRET is not shown \(\d+ bytes.*\): expected 32 bytes or more, as text/)
      expect(fault).not.toContain(text)
    },
  )

  test('is no secret with a line break in it, nor one in quotes: neither is shown', () => {
    const text = 'x'.repeat(40)
    for (const given of [`${text}\n`, `${text}\r\n`, `${text}\n${text}`]) {
      const [fault = '', ...others] = faultsOf({ RECORDINGS_JWT_SECRET: given })
      expect(others).toEqual([])
      expect(fault).toMatch(/bytes, a line break among them\): expected 32 bytes or more, as text without a line break/)
      expect(fault).not.toContain(text)
    }
    for (const given of [`"${text}"`, `'${text}'`, ` "${text}" `, `"${text}"\n`]) {
      expect(faultsOf({ RECORDINGS_JWT_SECRET: given })).toEqual([
        'RECORDINGS_JWT_SECRET is in quotes: expected what is between them, since they would be part of the value',
      ])
    }
  })

  test('and no other setting is taken with its quotes', () => {
    expect(faultsOf({ RECORDINGS_DATA_DIR: '"./data"', RECORDINGS_JWT_ISSUER: "'https://crm.example'" })).toEqual(
      ['RECORDINGS_DATA_DIR', 'RECORDINGS_JWT_ISSUER'].map(
        (name) => `${name} is in quotes: expected what is between them, since they would be part of the value`,
      ),
    )
  })

  test('is a file of keys, its path made absolute', () => {
    expect(readConfig({ RECORDINGS_JWKS_FILE: 'keys.json' }).auth.key).toEqual({
      kind: 'jwks-file',
      file: path.resolve('keys.json'),
    })
  })

  test.for([
    'ftp://a',
    'a',
    'file:///etc/keys',
    'https://user:hunter2@id.example/keys',
    'https://hunter2@id.example/keys',
  ])('is not at %s', (text) => {
    const [fault = '', ...others] = faultsOf({ RECORDINGS_JWKS_URL: text })
    expect(others).toEqual([])
    expect(fault).toMatch(/^RECORDINGS_JWKS_URL is .*: expected an http or https address without credentials$/)
    expect(fault).not.toContain('hunter2')
  })

  test('is one, not two', () => {
    const both = { RECORDINGS_JWT_SECRET: SECRET, RECORDINGS_JWKS_URL: 'https://id.example/keys' }
    expect(faultsOf(both)).toEqual(['RECORDINGS_JWT_SECRET and RECORDINGS_JWKS_URL are given: expected one of them'])
    expect(faultsOf({ ...both, RECORDINGS_JWKS_FILE: 'a' })[0]).toContain(
      'RECORDINGS_JWT_SECRET and RECORDINGS_JWKS_URL and RECORDINGS_JWKS_FILE are given',
    )
  })
})

describe('the key of playback links', () => {
  const database = { RECORDINGS_DATABASE_URL: 'postgres://u@db.example/calls', NODE_ENV: 'test' }

  test('is made where none is given, and else the bytes of the secret, as they stand', () => {
    expect(readConfig({}).playback.linkSecret).toBeUndefined()
    const { linkSecret } = readConfig({ RECORDINGS_PLAYBACK_LINK_SECRET: ` ${SECRET} ` }).playback
    expect(Buffer.from(linkSecret as Uint8Array).toString()).toBe(` ${SECRET} `)
  })

  test('is not shown, and not short', () => {
    const [fault = '', ...others] = faultsOf({ RECORDINGS_PLAYBACK_LINK_SECRET: 'x'.repeat(31) })
    expect(others).toEqual([])
    expect(fault).toMatch(/^RECORDINGS_PLAYBACK_LINK_SECRET is not shown \(31 bytes\): expected 32 bytes or more/)
  })

  test('is not that of logins: a link would be a login', () => {
    expect(faultsOf({ RECORDINGS_JWT_SECRET: SECRET, RECORDINGS_PLAYBACK_LINK_SECRET: SECRET })).toEqual([
      'RECORDINGS_PLAYBACK_LINK_SECRET and RECORDINGS_JWT_SECRET are the same: expected two, or a link would be a login',
    ])
  })

  test('is given where instances share a database, and so is that of logins: none is made', () => {
    expect(faultsOf(database)).toEqual([
      'none of RECORDINGS_JWT_SECRET, RECORDINGS_JWKS_URL, RECORDINGS_JWKS_FILE is given: expected one of them beside RECORDINGS_DATABASE_URL',
      'RECORDINGS_PLAYBACK_LINK_SECRET is not given: expected one beside RECORDINGS_DATABASE_URL, the same for all instances',
    ])
    const given = { RECORDINGS_JWT_SECRET: SECRET, RECORDINGS_PLAYBACK_LINK_SECRET: `another ${SECRET}` }
    expect(faultsOf({ ...database, ...given })).toEqual([])
  })
})

describe('the algorithms', () => {
  const algorithms = (env: Environment) => readConfig(env).auth.algorithms
  const jwks = { RECORDINGS_JWKS_FILE: 'keys.json' }

  test('are HS256 for a secret, the asymmetric ones for a set of keys', () => {
    expect(algorithms({ RECORDINGS_JWT_SECRET: SECRET })).toEqual(['HS256'])
    expect(algorithms(jwks)).toEqual(expect.arrayContaining(['RS256', 'PS256', 'ES256', 'EdDSA', 'ES512']))
    expect(algorithms(jwks).filter((name) => name.startsWith('HS'))).toEqual([])
  })

  test.for([
    [32, 'HS256', true],
    [47, 'HS384', false],
    [48, 'HS384', true],
    [63, 'HS512', false],
    [64, 'HS512,HS256', true],
  ] as const)('a secret of %i bytes and %s: %s', ([bytes, names, sound]) => {
    const env = { RECORDINGS_JWT_SECRET: 'x'.repeat(bytes), RECORDINGS_JWT_ALGORITHMS: names }
    expect(faultsOf(env)).toHaveLength(sound ? 0 : 1)
    if (sound) expect(algorithms(env)).toEqual(names.split(','))
    else expect(faultsOf(env)[0]).toContain(`${names} needs a secret of`)
  })

  test.for([
    [{ RECORDINGS_JWT_SECRET: SECRET }, 'RS256', 'RS256 does not go with RECORDINGS_JWT_SECRET'],
    [{ RECORDINGS_JWT_SECRET: SECRET }, 'HS256 ES256', 'ES256 does not go with RECORDINGS_JWT_SECRET'],
    [jwks, 'HS256', 'HS256 does not go with RECORDINGS_JWKS_FILE'],
    [jwks, 'RS256,HS512', 'HS512 does not go with RECORDINGS_JWKS_FILE'],
    [{}, 'RS256', 'RS256 does not go with the secret made here'],
    [{}, 'HS512', 'HS512 needs a RECORDINGS_JWT_SECRET'],
    [{}, 'none', 'RECORDINGS_JWT_ALGORITHMS is `none`'],
    [jwks, 'RS256,none', 'RECORDINGS_JWT_ALGORITHMS is `RS256,none`'],
    [jwks, 'rs256', 'RECORDINGS_JWT_ALGORITHMS is `rs256`'],
    [jwks, 'toString', 'RECORDINGS_JWT_ALGORITHMS is `toString`'],
    [jwks, ',', 'RECORDINGS_JWT_ALGORITHMS is `,`'],
  ] as const)('%j with %s is a fault', ([env, names, fault]) => {
    const faults = faultsOf({ ...env, RECORDINGS_JWT_ALGORITHMS: names })
    expect(faults).toHaveLength(1)
    expect(faults[0]).toContain(fault)
  })
})

describe('an address', () => {
  test.for(['127.0.0.1', '::1', '0.0.0.0', 'localhost', 'calls.internal', 'a_b'])('%s is a host', (text) => {
    expect(reading('HOST', text, (config) => config.host)).toBe(text)
  })
  test.for(['[::1]', 'http://a', 'a:80', 'a b', '-', 'a/', '1.2.3.4:80'])('%s is no host', (text) => {
    expect(faultsOf({ HOST: text })).toHaveLength(1)
  })
  test.for(['0', '1', '65535'])('%s is a port', (text) => {
    expect(reading('PORT', text, (config) => config.port)).toBe(Number(text))
  })
  test.for(['65536', '-1', '80.5', '0x50', 'http', '/run/socket'])('%s is no port', (text) => {
    expect(faultsOf({ PORT: text })).toEqual([`PORT is \`${text}\`: expected a whole number from 0 to 65535`])
  })

  test.for([
    ['https://calls.example', 'https://calls.example/'],
    ['http://10.0.0.1:8080/a/b', 'http://10.0.0.1:8080/a/b/'],
    ['https://calls.example/a/', 'https://calls.example/a/'],
  ] as const)('%s is public, and ends with a slash', ([text, href]) => {
    expect(reading('RECORDINGS_PUBLIC_URL', text, (config) => config.publicUrl?.href)).toBe(href)
  })
  test.for(['calls.example', 'ftp://a', 'https://a/?b=c', 'https://a/?', 'https://a/#b', 'https://u:p@a/', '/a'])(
    '%s is not public',
    (text) => {
      expect(faultsOf({ RECORDINGS_PUBLIC_URL: text })).toHaveLength(1)
    },
  )

  test.for([
    ['*', '*'],
    ['none', []],
    ['https://a.example', ['https://a.example']],
    ['https://a.example, http://b:8080,https://a.example', ['https://a.example', 'http://b:8080']],
    ['capacitor://localhost', ['capacitor://localhost']],
  ] as const)('%s may ask from elsewhere', ([text, origins]) => {
    expect(reading('RECORDINGS_CORS_ORIGINS', text, (config) => config.cors)).toEqual(origins)
  })
  test.for([
    'https://a/',
    'https://a/b',
    'a.example',
    'https://A.example',
    'https://a:443',
    '*.a.example',
    'https://a,*',
    'null',
    ',',
  ])('%s is no origin', (text) => {
    expect(faultsOf({ RECORDINGS_CORS_ORIGINS: text })).toHaveLength(1)
  })

  test.for([
    ['true', true],
    ['false', false],
    ['0', 0],
    ['2', 2],
    ['loopback', 'loopback'],
    ['10.0.0.1 fd00::/8', '10.0.0.1, fd00::/8'],
  ] as const)('%s is a proxy to trust', ([text, value]) => {
    expect(reading('RECORDINGS_TRUST_PROXY', text, (config) => config.trustProxy)).toBe(value)
  })
  test.for(['yes', '-1', '10.0.0.0/33', '10.0.0.0/', '10.0.0.0/8/8', 'proxy.example', '1.5'])('%s is none', (text) => {
    expect(faultsOf({ RECORDINGS_TRUST_PROXY: text })).toHaveLength(1)
  })
})

describe('a path', () => {
  test.for([
    ['/protected/', '/protected/'],
    ['/a/b.c_d~e-f', '/a/b.c_d~e-f/'],
    ['/a/...', '/a/.../'],
  ] as const)('%s is where nginx finds the recordings', ([text, prefix]) => {
    expect(reading('RECORDINGS_ACCEL_REDIRECT', text, (config) => config.playback.accelRedirect)).toBe(prefix)
  })
  test.for(['protected', '/', '//a', '/a//b', '/a/../b', '/a/..', '/./a', '/a?b', '/a b', '/a\r\nX: y', '/%2e'])(
    '%j is not',
    (text) => {
      expect(faultsOf({ RECORDINGS_ACCEL_REDIRECT: text })).toHaveLength(1)
    },
  )

  test('is made absolute', () => {
    const config = readConfig({ RECORDINGS_DATA_DIR: 'a/../b', RECORDINGS_DIR: 'c', RECORDINGS_UPLOADS_DIR: '../d' })
    expect(config.databaseFile).toBe(path.resolve('b/recordings.db'))
    expect(config.recordingsDir).toBe(path.resolve('c'))
    expect(config.uploadsDir).toBe(path.resolve('../d'))
  })

  test.for([
    ['/a', '/a', '/x'],
    ['/a', '/a/b', '/x'],
    ['/a/b', '/a', '/x'],
    ['/', '/a', '/x'],
    ['/x', '/a', '/x'],
    ['/a', '/x', '/x'],
    ['/x/..', '/a', '/x'],
    ['/a', '/b', '/a/x'],
  ] as const)('recordings in %s, uploads in %s, data in %s would mix', ([recordings, uploads, data]) => {
    const faults = faultsOf({
      RECORDINGS_DIR: recordings,
      RECORDINGS_UPLOADS_DIR: uploads,
      RECORDINGS_DATA_DIR: data,
    })
    expect(faults.length).toBeGreaterThan(0)
    expect(faults.join()).toMatch(/inside each other|does not hold/)
  })

  test.for([
    ['/a', '/ab', '/x'],
    ['/x/..a', '/x/b', '/x'],
    ['/a', '/b', '/x'],
  ] as const)('recordings in %s, uploads in %s, data in %s stay apart', ([recordings, uploads, data]) => {
    const faults = faultsOf({
      RECORDINGS_DIR: recordings,
      RECORDINGS_UPLOADS_DIR: uploads,
      RECORDINGS_DATA_DIR: data,
    })
    expect(faults).toEqual([])
  })
})

describe('faults', () => {
  test('are all told at once, one line each', () => {
    const env = {
      NODE_ENV: 'production',
      PORT: 'http',
      LOG_LEVEL: 'loud',
      RECORDINGS_IDLE_TIMEOUT: '60',
      RECORDINGS_MAX_UPLOADS_PER_CALLER: '0',
      RECORDINGS_CHUNK_SIZE: '9MiB',
      RECORDINGS_NONSENSE: '1',
    }
    expect(() => readConfig(env)).toThrow(ConfigError)
    expect(() => readConfig(env)).toThrow(
      [
        'The settings have 7 faults:',
        '  RECORDINGS_NONSENSE is no setting: remove it, or see docs/operating.md for the names that there are',
        '  PORT is `http`: expected a whole number from 0 to 65535',
        '  LOG_LEVEL is `loud`: expected one of fatal, error, warn, info, debug, trace, silent',
        '  RECORDINGS_IDLE_TIMEOUT is `60`: expected a time such as 500ms, 30s, 10m, 24h or 7d, at least 1ms, at most 24d',
        '  RECORDINGS_MAX_UPLOADS_PER_CALLER is `0`: expected a whole number from 1 to 1000000',
        '  none of RECORDINGS_JWT_SECRET, RECORDINGS_JWKS_URL, RECORDINGS_JWKS_FILE is given: expected one of them in production',
        '  RECORDINGS_CHUNK_SIZE is 9437184 bytes: expected no more than RECORDINGS_MAX_CHUNK_SIZE, 8388608 bytes',
      ].join('\n'),
    )
  })

  test('tell of a long value its beginning', () => {
    expect(faultsOf({ PORT: 'x'.repeat(10_000) })[0]?.length).toBeLessThan(300)
  })

  test.for([
    ['RECORDINGS_JWT_SECRETT', 'RECORDINGS_JWT_SECRET'],
    ['RECORDINGS_JTW_SECRET', 'RECORDINGS_JWT_SECRET'],
    ['RECORDINGS_PORT', 'PORT'],
    ['RECORDINGS_HOST', 'HOST'],
    ['RECORDINGS_LOG_LEVEL', 'LOG_LEVEL'],
    ['RECORDINGS_CORS_ORIGIN', 'RECORDINGS_CORS_ORIGINS'],
    ['RECORDINGS_UPLOADS_EXPIRES_AFTER', 'RECORDINGS_UPLOAD_EXPIRES_AFTER'],
    ['recordings_dir', 'RECORDINGS_DIR'],
  ] as const)('name %s, which was meant for %s, and not its value', ([name, meant]) => {
    expect(faultsOf({ [name]: SECRET })).toEqual([`${name} is no setting; did you mean ${meant}?`])
  })

  test('suggest nothing for a name that is like no other', () => {
    expect(faultsOf({ RECORDINGS_COLOUR: 'red' })).toEqual([
      'RECORDINGS_COLOUR is no setting: remove it, or see docs/operating.md for the names that there are',
    ])
  })

  test.for(['RECORDINGS_SERVICE_HOST', 'RECORDINGS_SERVICE_PORT_HTTP', 'RECORDINGS_PORT_80_TCP_ADDR'])(
    'say where %s comes from',
    (name) => {
      expect(faultsOf({ [name]: '10.0.0.1' })).toEqual([
        `${name} is no setting; Kubernetes sets it for a service called recordings: expected enableServiceLinks: false`,
      ])
    },
  )

  test('are none for names of others', () => {
    expect(faultsOf({ HOME: '/root', RECORDING: '1', MY_RECORDINGS_DIR: 'a', RECORDINGS: 'b' })).toEqual([])
  })
})

describe('the crash point of the tests', () => {
  test('is there under NODE_ENV=test', () => {
    expect(readConfig({ NODE_ENV: 'test', RECORDINGS_TEST_CRASH_AT: 'after-rename' }).crashAt).toBe('after-rename')
  })
  test.for([undefined, 'production', 'development'])('is unknown under NODE_ENV=%s', (environment) => {
    const env = { NODE_ENV: environment, RECORDINGS_JWT_SECRET: SECRET, RECORDINGS_TEST_CRASH_AT: 'after-rename' }
    expect(faultsOf(env)).toEqual([expect.stringMatching(/^RECORDINGS_TEST_CRASH_AT is no setting: remove it/)])
  })
})

describe('the configuration', () => {
  const config = readConfig({
    RECORDINGS_JWT_SECRET: SECRET,
    RECORDINGS_CORS_ORIGINS: 'https://a',
    RECORDINGS_JWT_ALGORITHMS: 'HS256',
  })

  test('cannot be changed, however deep', () => {
    const frozen = (value: unknown): boolean =>
      typeof value !== 'object' ||
      value === null ||
      ArrayBuffer.isView(value) ||
      (Object.isFrozen(value) && Object.values(value).every(frozen))
    expect(frozen(config)).toBe(true)
    expect(() => {
      ;(config.uploads as { maxBytes: number }).maxBytes = 1
    }).toThrow(TypeError)
  })

  test('leaves the next one free', () => {
    expect(Object.isFrozen(readConfig({}).auth.algorithms)).toBe(true)
    expect(readConfig({ RECORDINGS_JWKS_FILE: 'a' })).toEqual(readConfig({ RECORDINGS_JWKS_FILE: 'a' }))
  })

  test('shows no secret, however it is printed', () => {
    const { key } = config.auth
    const secret = key.kind === 'secret' ? key.secret : new Uint8Array()
    const bytes = [...secret].slice(0, 8).join('|')
    for (const text of [
      inspect(config, { depth: 9, showHidden: true }),
      JSON.stringify(config),
      JSON.stringify({ ...key }),
      `${secret}`,
      String(config),
      secret.toLocaleString(),
      inspect(secret),
    ]) {
      expect(text).not.toContain(SECRET.slice(0, 8))
      expect(text.replaceAll(/[^0-9]+/g, '|')).not.toContain(bytes)
      expect(text.replaceAll(/[^0-9a-f]+/g, '')).not.toContain(Buffer.from(secret.subarray(0, 6)).toString('hex'))
    }
  })
})

describe('PostgreSQL', () => {
  const address = 'postgres://calls:the%2Fpassword@db.example:5433/recordings?sslmode=verify-full&password=another'
  const secrets = { RECORDINGS_JWT_SECRET: SECRET, RECORDINGS_PLAYBACK_LINK_SECRET: `another ${SECRET}` }
  const env = { NODE_ENV: 'test', ...secrets, RECORDINGS_DATABASE_URL: address }

  test('is taken by its address, with sizes of its own', () => {
    expect(readConfig({ NODE_ENV: 'test' }).postgres).toBeUndefined()
    const { postgres } = readConfig(env)
    expect(postgres).toMatchObject({ connections: 8, readConnections: 2, statementTimeoutMs: 4_000 })
    expect(postgres?.url.text).toBe(address)
    const sizes = { RECORDINGS_DATABASE_CONNECTIONS: '20', RECORDINGS_DATABASE_READ_CONNECTIONS: '4' }
    expect(readConfig({ ...env, ...sizes, RECORDINGS_DATABASE_STATEMENT_TIMEOUT: '1s' }).postgres).toMatchObject({
      connections: 20,
      readConnections: 4,
      statementTimeoutMs: 1_000,
    })
  })

  test('shows no password, however it is printed', () => {
    const config = readConfig(env)
    const texts = [
      inspect(config, { depth: 9, showHidden: true }),
      JSON.stringify(config),
      `${config.postgres?.url}`,
      config.postgres?.url.toLocaleString(),
      inspect({ ...config.postgres }),
    ]
    for (const text of texts) expect(text).not.toMatch(/the%2Fpassword|the\/password|another/)
    expect(texts[2]).toBe('postgres://calls:***@db.example:5433/recordings')
  })

  test.for([
    'https://calls:the-password@db.example/recordings',
    'postgres://calls:the-password@db.example',
    'postgres://calls:the-password@db.example/',
    'postgres:///recordings?password=the-password',
    'postgres://calls:half/the-password@db.example/recordings',
    'the-password',
  ])('is not what %s names, which is not shown', (text) => {
    const faults = faultsOf({ NODE_ENV: 'test', RECORDINGS_DATABASE_URL: text })
    expect(faults).toEqual([expect.stringContaining('RECORDINGS_DATABASE_URL is not shown')])
    expect(faults[0]).not.toContain('the-password')
  })

  test.for([
    'postgresql://calls@db.example/recordings',
    'postgres://calls@%2Fvar%2Frun%2Fpostgresql/recordings',
    'postgres:///recordings?host=/var/run/postgresql',
  ])('is what %s names', (text) => {
    expect(readConfig({ ...env, RECORDINGS_DATABASE_URL: text }).postgres?.url.text).toBe(text)
  })
})

test('any text in any setting is read or told of, and nothing else', () => {
  const names =
    'HOST PORT LOG_LEVEL NODE_ENV RECORDINGS_DATA_DIR RECORDINGS_JWT_SECRET RECORDINGS_JWKS_URL RECORDINGS_JWT_ALGORITHMS RECORDINGS_CHUNK_SIZE RECORDINGS_IDLE_TIMEOUT RECORDINGS_ACCEL_REDIRECT RECORDINGS_PUBLIC_URL RECORDINGS_TRUST_PROXY RECORDINGS_CORS_ORIGINS RECORDINGS_DATABASE_URL'.split(
      ' ',
    )
  const text = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.webUrl(),
    fc.ipV6(),
    fc.stringMatching(/^\d{1,20}[a-zA-Z]{0,3}$/),
  )
  fc.assert(
    fc.property(fc.constantFrom(...names), text, (name, value) => {
      const faults = faultsOf({ [name]: value })
      expect(faults.every((fault) => !fault.includes('undefined'))).toBe(true)
    }),
    { numRuns: 1000 },
  )
})

describe('metrics', () => {
  const TOKEN = 'sixteen-or-more-of'
  const inProduction = { NODE_ENV: 'production', RECORDINGS_JWT_SECRET: SECRET }

  test('are open outside production, and in production off until it is said where they are', () => {
    expect(readConfig(inProduction).metrics).toBeUndefined()
    expect(readConfig({ ...inProduction, RECORDINGS_METRICS_PORT: '9100' }).metrics).toEqual({
      at: 'port',
      port: 9_100,
    })
    const { metrics } = readConfig({ ...inProduction, RECORDINGS_METRICS_TOKEN: TOKEN })
    expect(metrics?.at).toBe('token')
    expect(inspect(metrics)).not.toContain(TOKEN)
  })

  test('are in one place, and at a port of their own', () => {
    expect(faultsOf({ RECORDINGS_METRICS_PORT: '9100', RECORDINGS_METRICS_TOKEN: TOKEN })).toEqual([
      'RECORDINGS_METRICS_PORT and RECORDINGS_METRICS_TOKEN are given: expected one of them',
    ])
    expect(faultsOf({ PORT: '9100', RECORDINGS_METRICS_PORT: '9100' })).toEqual([
      'RECORDINGS_METRICS_PORT is 9100, as PORT is: expected another one',
    ])
    expect(faultsOf({ RECORDINGS_METRICS_TOKEN: 'short' })).toHaveLength(1)
    expect(faultsOf({ RECORDINGS_METRICS_TOKEN: 'with a space in its middle' }).join()).not.toContain('space')
  })
})

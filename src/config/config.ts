/**
 * The settings: read once from the environment, checked whole, frozen. The only file that reads `process.env`.
 *
 * Every fault is told in one message, so that an operator mends them all at once. A secret is never part of a
 * message, and the configuration does not show it when it is printed.
 */
import { isIP } from 'node:net'
import path from 'node:path'
import { inspect } from 'node:util'
import { z } from 'zod'

export type LogLevel = 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace' | 'silent'

export type KeySetting =
  | { readonly kind: 'secret'; readonly secret: Uint8Array }
  | { readonly kind: 'jwks-url'; readonly url: URL }
  | { readonly kind: 'jwks-file'; readonly file: string }
  /** Outside production: a secret for HS256 that is made at the first start and kept at `file`, mode 0600. */
  | { readonly kind: 'made'; readonly file: string }

export interface Config {
  readonly production: boolean
  readonly host: string
  /** 0: any free port. */
  readonly port: number
  /** Absolute, as all paths here. */
  readonly dataDir: string
  readonly databaseFile: string
  readonly recordingsDir: string
  readonly uploadsDir: string
  readonly auth: {
    readonly key: KeySetting
    /** Not checked when undefined; so is the audience. */
    readonly issuer?: string
    readonly audience?: string
    /** Either all symmetric or all asymmetric, as the key is. */
    readonly algorithms: readonly string[]
  }
  readonly uploads: {
    /** What a legacy client is told to send, in bytes. */
    readonly chunkSize: number
    readonly maxChunkSize: number
    readonly maxBytes: number
    readonly expiresAfterMs: number
    readonly idleTimeoutMs: number
    readonly minFreeBytes: number
    readonly maxPerCaller: number
  }
  /** So long an upload's type and duration are sought. */
  readonly mediaDeadlineMs: number
  readonly shutdownGraceMs: number
  readonly playback: {
    /** Starts and ends with `/`; undefined: the service sends the bytes itself. */
    readonly accelRedirect?: string
    readonly linkExpiresAfterMs: number
  }
  /** Its path ends with `/`, so that `new URL('api/…', publicUrl)` keeps the prefix. */
  readonly publicUrl?: URL
  /** What Express' `trust proxy` takes. */
  readonly trustProxy: boolean | number | string
  /** Exact origins; empty: no other origin may ask. */
  readonly cors: '*' | readonly string[]
  readonly logLevel: LogLevel
  /** The point at which the process kills itself; for the tests of crashes, only under NODE_ENV=test. */
  readonly crashAt?: string
}

/** The directories that are named by settings. */
export type Places = Pick<Config, 'dataDir' | 'recordingsDir' | 'uploadsDir'>

/** What of the file system is named by settings. */
export interface Named extends Places {
  keyFile: string | undefined
}

/** All that is wrong with the settings, one line each. */
export class ConfigError extends Error {
  override name = 'ConfigError'
  readonly faults: readonly string[]

  constructor(faults: readonly string[]) {
    const count = faults.length === 1 ? 'a fault' : `${faults.length} faults`
    super(`The settings have ${count}:\n${faults.map((fault) => `  ${fault}`).join('\n')}`)
    this.faults = faults
  }
}

/** Bytes that say nothing of themselves when they are printed, logged or turned to JSON. */
class Secret extends Uint8Array {
  override toString(): string {
    return '[secret]'
  }
  override toLocaleString(): string {
    return '[secret]'
  }
  toJSON(): string {
    return '[secret]'
  }
  [inspect.custom](): string {
    return '[secret]'
  }
}

const BYTES = { b: 1, kib: 2 ** 10, mib: 2 ** 20, gib: 2 ** 30, tib: 2 ** 40 } as const
const MILLISECONDS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const
/** Beyond it setTimeout fires at once. */
const MAX_TIMER_MS = 2 ** 31 - 1
const MAX_TIME_MS = 3650 * MILLISECONDS.d
/** A legacy chunk is held in memory, in its Base64. */
const MAX_CHUNK_SIZE = 256 * BYTES.mib
const MIN_SECRET_BYTES = 32

const SYMMETRIC: Record<string, { minSecretBytes: number }> = {
  HS256: { minSecretBytes: 32 }, // RFC 7518 §3.2: a key of the hash's size or larger
  HS384: { minSecretBytes: 48 },
  HS512: { minSecretBytes: 64 },
}
const ASYMMETRIC = 'RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA Ed25519'.split(' ')

/** A setting's text turned to its value; `undefined` is a fault, told as "expected …". */
const setting = <T>(expected: string, parse: (text: string) => T | undefined) =>
  z.string().transform((text, context): T => {
    const value = parse(text)
    if (value !== undefined) return value
    context.addIssue({ code: 'custom', message: expected })
    return z.NEVER
  })

const withUnit = (text: string, units: Readonly<Record<string, number>>): number | undefined => {
  const [, digits, unit = ''] = /^(\d+)\s*([a-z]*)$/i.exec(text) ?? []
  const scale = Object.hasOwn(units, unit) ? units[unit] : undefined
  const value = digits === undefined || scale === undefined ? Number.NaN : Number(digits) * scale
  return Number.isSafeInteger(value) ? value : undefined
}

const within = (value: number | undefined, min: number, max: number): number | undefined =>
  value !== undefined && value >= min && value <= max ? value : undefined

const bounds = (min: string | undefined, max: string | undefined) =>
  (min === undefined ? '' : `, at least ${min}`) + (max === undefined ? '' : `, at most ${max}`)

const size = (min: 0 | 1, max: number = Number.MAX_SAFE_INTEGER, maxText?: string) =>
  setting(`a size in bytes such as 1048576 or 8MiB${bounds(min === 1 ? '1' : undefined, maxText)}`, (text) =>
    within(withUnit(text.toLowerCase(), { '': 1, ...BYTES }), min, max),
  )

const time = (min: 0 | 1, max: number, maxText: string) =>
  setting(`a time such as 500ms, 30s, 10m, 24h or 7d${bounds(min === 1 ? '1ms' : undefined, maxText)}`, (text) =>
    within(withUnit(text, MILLISECONDS), min, max),
  )

const integer = (min: number, max: number) =>
  setting(`a whole number from ${min} to ${max}`, (text) => within(withUnit(text, { '': 1 }), min, max))

const list = (text: string) => text.split(/[\s,]+/).filter((part) => part !== '')

const isHost = (text: string) => isIP(text) !== 0 || /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?$/i.test(text)

const httpUrl = (text: string): URL | undefined => {
  const url = URL.canParse(text) ? new URL(text) : undefined
  const isPlain = url && /^https?:$/.test(url.protocol) && url.username === '' && url.password === '' && url.hash === ''
  return isPlain ? url : undefined
}

const publicUrl = (text: string): URL | undefined => {
  const url = httpUrl(text)
  if (!url || text.includes('?')) return undefined
  if (!url.pathname.endsWith('/')) url.pathname += '/'
  return url
}

/** RFC 6454 §6.2. Apps in a web view have schemes of their own, such as `capacitor://localhost`. */
const isOrigin = (text: string) =>
  /^https?:/i.test(text)
    ? URL.canParse(text) && new URL(text).origin === text
    : /^[a-z][a-z0-9+.-]*:\/\/[a-z0-9_.-]+(:\d{1,5})?$/.test(text)

const corsOrigins = (text: string): '*' | readonly string[] | undefined => {
  if (text === '*') return '*'
  if (text === 'none') return []
  const origins = [...new Set(list(text))]
  return origins.length > 0 && origins.every(isOrigin) ? origins : undefined
}

const isProxyAddress = (text: string) => {
  if (['loopback', 'linklocal', 'uniquelocal'].includes(text)) return true
  const [address = '', bits, ...rest] = text.split('/')
  const version = isIP(address)
  if (version === 0 || rest.length > 0) return false
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128))
}

const trustProxy = (text: string): boolean | number | string | undefined => {
  if (text === 'true' || text === 'false') return text === 'true'
  if (/^\d{1,2}$/.test(text)) return Number(text)
  const addresses = list(text)
  return addresses.length > 0 && addresses.every(isProxyAddress) ? addresses.join(', ') : undefined
}

/** It goes into a response header ahead of a recording's path: plain characters, no `..`, one slash at a time. */
const accelRedirect = (text: string): string | undefined =>
  /^(\/(?!\.{1,2}(\/|$))[\w.~-]+)+\/?$/.test(text) ? text.replace(/\/?$/, '/') : undefined

/** As an environment file leaves it where its reader takes no quotes off. */
const isQuoted = (text: string) => /^\s*(["'`]).*\1\s*$/s.test(text)

const secret = (text: string): Secret | undefined => {
  if (/[\r\n]/.test(text)) return undefined
  const bytes = new TextEncoder().encode(text)
  return bytes.length >= MIN_SECRET_BYTES && !text.trimStart().startsWith('-----BEGIN') ? new Secret(bytes) : undefined
}

const plain = setting('a value', (text) => text)
const directory = setting('a path', (text) => path.resolve(text))
const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const

const SETTINGS = {
  NODE_ENV: setting('`production` spelt out, or another word for another environment', (text) =>
    /^prod(uction)?$/i.test(text) && text !== 'production' ? undefined : text,
  ).prefault('development'),
  HOST: setting('an address or a host name such as 127.0.0.1, ::1 or 0.0.0.0', (text) =>
    isHost(text) ? text : undefined,
  ).prefault('127.0.0.1'),
  PORT: integer(0, 65_535).prefault('3000'),
  LOG_LEVEL: setting(`one of ${LOG_LEVELS.join(', ')}`, (text) => LOG_LEVELS.find((level) => level === text)).prefault(
    'info',
  ),
  RECORDINGS_DATA_DIR: directory.prefault('./data'),
  RECORDINGS_DIR: directory.optional(),
  RECORDINGS_UPLOADS_DIR: directory.optional(),
  RECORDINGS_JWT_SECRET: setting(
    `${MIN_SECRET_BYTES} bytes or more, as text without a line break, such as the output of \`openssl rand -base64 48\`; ` +
      'a public key belongs into RECORDINGS_JWKS_FILE',
    secret,
  ).optional(),
  RECORDINGS_JWKS_URL: setting('an http or https address without credentials', httpUrl).optional(),
  RECORDINGS_JWKS_FILE: directory.optional(),
  RECORDINGS_JWT_ISSUER: plain.optional(),
  RECORDINGS_JWT_AUDIENCE: plain.optional(),
  RECORDINGS_JWT_ALGORITHMS: setting(
    `one or more of ${[...Object.keys(SYMMETRIC), ...ASYMMETRIC].join(', ')}`,
    (text) => {
      const algorithms = [...new Set(list(text))]
      const known = algorithms.every((name) => Object.hasOwn(SYMMETRIC, name) || ASYMMETRIC.includes(name))
      return algorithms.length > 0 && known ? algorithms : undefined
    },
  ).optional(),
  RECORDINGS_CHUNK_SIZE: size(1).prefault('1MiB'),
  RECORDINGS_MAX_CHUNK_SIZE: size(1, MAX_CHUNK_SIZE, '256MiB').prefault('8MiB'),
  RECORDINGS_MAX_UPLOAD_SIZE: size(1).prefault('1GiB'),
  RECORDINGS_UPLOAD_EXPIRES_AFTER: time(1, MAX_TIME_MS, '3650d').prefault('24h'),
  RECORDINGS_IDLE_TIMEOUT: time(1, MAX_TIMER_MS, '24d').prefault('60s'),
  RECORDINGS_MIN_FREE_SPACE: size(0).prefault('256MiB'),
  RECORDINGS_MAX_UPLOADS_PER_CALLER: integer(1, 1_000_000).prefault('64'),
  RECORDINGS_MEDIA_DEADLINE: time(1, 10 * MILLISECONDS.m, '10m').prefault('3s'),
  RECORDINGS_SHUTDOWN_GRACE: time(0, MAX_TIMER_MS, '24d').prefault('20s'),
  RECORDINGS_ACCEL_REDIRECT: setting(
    'a path of letters, digits and . _ ~ - that starts with /, such as /protected/',
    accelRedirect,
  ).optional(),
  RECORDINGS_PUBLIC_URL: setting(
    'an http or https address without credentials, query or fragment, such as https://calls.example/',
    publicUrl,
  ).optional(),
  RECORDINGS_TRUST_PROXY: setting(
    'true, false, the number of proxies, or addresses and networks such as `loopback, 10.0.0.0/8`',
    trustProxy,
  ).prefault('false'),
  RECORDINGS_CORS_ORIGINS: setting(
    '`*`, `none`, or exact origins such as `https://crm.example, http://localhost:5173` (lower case, no path, no final slash)',
    corsOrigins,
  ).optional(),
  RECORDINGS_PLAYBACK_LINK_EXPIRES_AFTER: time(1, MAX_TIME_MS, '3650d').prefault('10m'),
  RECORDINGS_TEST_CRASH_AT: plain.optional(),
} as const

type SettingName = keyof typeof SETTINGS
/** What could be read; a setting with a fault is missing. */
type Values = { [Name in SettingName]?: z.output<(typeof SETTINGS)[Name]> }
type Sound = { [Name in SettingName]: z.output<(typeof SETTINGS)[Name]> }

/** Not to be trimmed: its bytes are the key. */
const SECRET = 'RECORDINGS_JWT_SECRET'
const KEY_SETTINGS = ['RECORDINGS_JWT_SECRET', 'RECORDINGS_JWKS_URL', 'RECORDINGS_JWKS_FILE'] as const
/** Known under NODE_ENV=test alone. */
const TEST_ONLY = 'RECORDINGS_TEST_CRASH_AT'

/** Every setting by its name, with the default as it would be given; undefined where there is none. */
export function settingDefaults(): ReadonlyMap<string, string | undefined> {
  const names = (Object.keys(SETTINGS) as SettingName[]).filter((name) => name !== TEST_ONLY)
  return new Map(
    names.map((name) => {
      const schema: z.ZodType = SETTINGS[name]
      return [name, schema instanceof z.ZodPrefault ? String(schema.def.defaultValue) : undefined]
    }),
  )
}

export type Environment = Readonly<Record<string, string | undefined>>

/**
 * Reads and checks all settings. An empty setting counts as one that is not there.
 *
 * The result is frozen to its depths; relative paths are resolved against the working directory. Touches no file.
 *
 * @throws ConfigError with every fault there is
 */
export function readConfig(env: Environment = process.env): Config {
  const given = (name: SettingName) => {
    const text = name === SECRET ? env[name] : env[name]?.trim()
    return text === '' ? undefined : text
  }
  const testing = given('NODE_ENV') === 'test'
  const names = (Object.keys(SETTINGS) as SettingName[]).filter((name) => name !== TEST_ONLY || testing)

  const faults = Object.keys(env)
    .filter((name) => /^RECORDINGS_/i.test(name) && env[name] && !names.includes(name as SettingName))
    .map((name) => unknown(name, names))

  const values: Record<string, unknown> = {}
  for (const name of names) {
    const text = given(name)
    if (text !== undefined && isQuoted(text)) {
      faults.push(`${name} is in quotes: expected what is between them, since they would be part of the value`)
      continue
    }
    const result = SETTINGS[name].safeParse(text)
    if (result.success) values[name] = result.data
    else faults.push(`${name} is ${shown(name, text)}: expected ${result.error.issues[0]?.message}`)
  }

  faults.push(
    ...contradictions(
      values,
      KEY_SETTINGS.filter((name) => given(name) !== undefined),
    ),
  )
  if (faults.length > 0) throw new ConfigError(faults)
  return deepFreeze(toConfig(values as Sound))
}

/** The directories and the file alone, whatever is wrong with other settings: what lies there can be judged too. */
export function namedIn(env: Environment = process.env): Named {
  const given = ['RECORDINGS_DATA_DIR', 'RECORDINGS_DIR', 'RECORDINGS_UPLOADS_DIR', 'RECORDINGS_JWKS_FILE'].flatMap(
    (name) => {
      const text = env[name]?.trim()
      return text ? [[name, path.resolve(text)] as const] : []
    },
  )
  const values: Values = Object.fromEntries(given)
  const { dataDir, recordings, uploads } = places(values)
  return { dataDir, recordingsDir: recordings, uploadsDir: uploads, keyFile: values.RECORDINGS_JWKS_FILE }
}

function contradictions(values: Values, keys: readonly SettingName[]): string[] {
  const faults: string[] = []

  if (keys.length > 1) faults.push(`${keys.join(' and ')} are given: expected one of them`)
  if (keys.length === 0 && values.NODE_ENV === 'production') {
    faults.push(`none of ${KEY_SETTINGS.join(', ')} is given: expected one of them in production`)
  }
  if (keys.length <= 1) faults.push(...algorithmFaults(values, keys[0]))

  const chunk = values.RECORDINGS_CHUNK_SIZE
  const maxChunk = values.RECORDINGS_MAX_CHUNK_SIZE
  if (chunk !== undefined && maxChunk !== undefined && chunk > maxChunk) {
    faults.push(
      `RECORDINGS_CHUNK_SIZE is ${chunk} bytes: expected no more than RECORDINGS_MAX_CHUNK_SIZE, ${maxChunk} bytes`,
    )
  }

  const { database, recordings, uploads } = places(values)
  if (contains(recordings, uploads) || contains(uploads, recordings)) {
    faults.push(
      `the recordings (${recordings}) and the uploads (${uploads}) lie inside each other: ` +
        'expected separate directories in RECORDINGS_DIR and RECORDINGS_UPLOADS_DIR',
    )
  }
  for (const [name, place] of [
    ['RECORDINGS_DIR', recordings],
    ['RECORDINGS_UPLOADS_DIR', uploads],
  ] as const) {
    if (contains(place, database))
      faults.push(`${name} is ${place}: expected a directory that does not hold ${database}`)
  }
  return faults
}

function algorithmFaults(values: Values, key: SettingName | undefined): string[] {
  const symmetric = key === undefined || key === SECRET
  const secretBytes = values[SECRET]?.length
  const refused = (values.RECORDINGS_JWT_ALGORITHMS ?? []).flatMap((name) => {
    const needed = SYMMETRIC[name]?.minSecretBytes
    if (symmetric !== (needed !== undefined)) return [`${name} does not go with ${key ?? 'the secret made here'}`]
    if (needed === undefined) return []
    if (key === undefined && needed > MIN_SECRET_BYTES) return [`${name} needs a RECORDINGS_JWT_SECRET`]
    if (secretBytes !== undefined && needed > secretBytes) return [`${name} needs a secret of ${needed} bytes or more`]
    return []
  })
  const expected = symmetric ? Object.keys(SYMMETRIC) : ASYMMETRIC
  if (refused.length === 0) return []
  return [`RECORDINGS_JWT_ALGORITHMS: ${refused.join('; ')}: expected among ${expected.join(', ')}`]
}

function places(values: Values) {
  const dataDir = values.RECORDINGS_DATA_DIR ?? path.resolve('data')
  return {
    dataDir,
    database: path.join(dataDir, 'recordings.db'),
    recordings: values.RECORDINGS_DIR ?? path.join(dataDir, 'recordings'),
    uploads: values.RECORDINGS_UPLOADS_DIR ?? path.join(dataDir, 'uploads'),
  }
}

const contains = (directory: string, place: string) => {
  const relative = path.relative(directory, place)
  return !(relative === '..' || relative.startsWith(`..${path.sep}`) || path.isAbsolute(relative))
}

function toConfig(values: Sound): Config {
  const production = values.NODE_ENV === 'production'
  const { dataDir, database, recordings, uploads } = places(values)
  const key = keySetting(values, dataDir)
  const symmetric = key.kind === 'secret' || key.kind === 'made'
  return {
    production,
    host: values.HOST,
    port: values.PORT,
    dataDir,
    databaseFile: database,
    recordingsDir: recordings,
    uploadsDir: uploads,
    auth: {
      key,
      issuer: values.RECORDINGS_JWT_ISSUER,
      audience: values.RECORDINGS_JWT_AUDIENCE,
      algorithms: values.RECORDINGS_JWT_ALGORITHMS ?? (symmetric ? ['HS256'] : [...ASYMMETRIC]),
    },
    uploads: {
      chunkSize: values.RECORDINGS_CHUNK_SIZE,
      maxChunkSize: values.RECORDINGS_MAX_CHUNK_SIZE,
      maxBytes: values.RECORDINGS_MAX_UPLOAD_SIZE,
      expiresAfterMs: values.RECORDINGS_UPLOAD_EXPIRES_AFTER,
      idleTimeoutMs: values.RECORDINGS_IDLE_TIMEOUT,
      minFreeBytes: values.RECORDINGS_MIN_FREE_SPACE,
      maxPerCaller: values.RECORDINGS_MAX_UPLOADS_PER_CALLER,
    },
    mediaDeadlineMs: values.RECORDINGS_MEDIA_DEADLINE,
    shutdownGraceMs: values.RECORDINGS_SHUTDOWN_GRACE,
    playback: {
      accelRedirect: values.RECORDINGS_ACCEL_REDIRECT,
      linkExpiresAfterMs: values.RECORDINGS_PLAYBACK_LINK_EXPIRES_AFTER,
    },
    publicUrl: values.RECORDINGS_PUBLIC_URL,
    trustProxy: values.RECORDINGS_TRUST_PROXY,
    cors: values.RECORDINGS_CORS_ORIGINS ?? (production ? [] : '*'),
    logLevel: values.LOG_LEVEL,
    crashAt: values.RECORDINGS_TEST_CRASH_AT,
  }
}

function keySetting(values: Sound, dataDir: string): KeySetting {
  if (values.RECORDINGS_JWT_SECRET) return { kind: 'secret', secret: values.RECORDINGS_JWT_SECRET }
  if (values.RECORDINGS_JWKS_URL) return { kind: 'jwks-url', url: values.RECORDINGS_JWKS_URL }
  if (values.RECORDINGS_JWKS_FILE) return { kind: 'jwks-file', file: values.RECORDINGS_JWKS_FILE }
  return { kind: 'made', file: path.join(dataDir, 'jwt-secret') }
}

/** What was given, fit to be printed: no secret, no credentials or query of an address. */
function shown(name: SettingName, text: string | undefined): string {
  if (text === undefined) return 'not given'
  if (name === SECRET) {
    return `not shown (${Buffer.byteLength(text)} bytes${/[\r\n]/.test(text) ? ', a line break among them' : ''})`
  }
  const masked = text.replace(/\/\/[^/?#]*@/g, '//***@').replace(/\?.*$/, '?***')
  return `\`${masked.length > 200 ? `${masked.slice(0, 200)}…` : masked}\``
}

/** Kubernetes gives these to every pod beside a service that is named `recordings`. */
const SERVICE_LINK = /^RECORDINGS_(SERVICE_(HOST|PORT)(_\w+)?|PORT(_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)?)$/

/** Its value is left out: it may be a secret under a name misspelt. */
function unknown(name: string, known: readonly SettingName[]): string {
  if (SERVICE_LINK.test(name) && name !== 'RECORDINGS_PORT') {
    return `${name} is no setting; Kubernetes sets it for a service called recordings: expected enableServiceLinks: false`
  }
  const stem = (text: string) => text.toUpperCase().replace(/^RECORDINGS_/, '')
  const closest = known
    .map((candidate) => ({ candidate, distance: editDistance(stem(name), stem(candidate)) }))
    .sort((a, b) => a.distance - b.distance)[0]
  const isClose = closest !== undefined && closest.distance <= Math.max(1, Math.floor(stem(name).length / 4))
  return `${name} is no setting${isClose ? `; did you mean ${closest.candidate}?` : ''}`
}

/** Levenshtein: how many letters to add, drop or change. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const change = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? 0
}

/** Bytes cannot be frozen, nor can what a URL holds inside. */
function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return value
  for (const part of Object.values(value)) deepFreeze(part)
  return Object.freeze(value)
}

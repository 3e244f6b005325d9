/**
 * The settings: read once from the environment, checked whole, frozen. The only file that reads `process.env`.
 *
 * Every fault is told in one message, so that an operator mends them all at once. A secret is never part of a
 * message, and the configuration does not show it when it is printed.
 */
import path from 'node:path'
import { contradictions } from './contradictions.ts'
import { isQuoted, shown, unknown } from './faults.ts'
import { namedPaths } from './named-paths.ts'
import {
  HIDDEN,
  KEY_SETTINGS,
  type LogLevel,
  OF_COMMANDS,
  SECRETS,
  SETTINGS,
  type SettingName,
  type Sound,
  STORE_SETTINGS,
  TEST_ONLY,
  type Values,
} from './settings.ts'
import { ASYMMETRIC, type SecretUrl } from './values.ts'

export type KeySetting =
  | { readonly kind: 'secret'; readonly secret: Uint8Array }
  | { readonly kind: 'jwks-url'; readonly url: URL }
  | { readonly kind: 'jwks-file'; readonly file: string }
  /** Outside production: a secret for HS256 that is made at the first start and kept at `file`, mode 0600. */
  | { readonly kind: 'made'; readonly file: string }

/** Where metrics are told: at `/metrics` to everybody, or to who has the token; or at a port of their own. */
export type MetricsSetting =
  | { readonly at: 'open' }
  | { readonly at: 'token'; readonly token: Uint8Array }
  | { readonly at: 'port'; readonly port: number }

/** PostgreSQL in place of the file in the data directory. */
export interface PostgresSettings {
  readonly url: SecretUrl
  /** For transactions. */
  readonly connections: number
  /** Shared by what only reads. */
  readonly readConnections: number
  readonly statementTimeoutMs: number
}

export interface Config {
  readonly production: boolean
  readonly host: string
  /** 0: any free port. */
  readonly port: number
  /** Absolute, as all paths here. */
  readonly dataDir: string
  readonly databaseFile: string
  /** Undefined: the database file. Given exactly where `store` is; tests pair it with a disk. */
  readonly postgres?: PostgresSettings
  readonly recordingsDir: string
  readonly uploadsDir: string
  /** Undefined: recordings and uploads lie in their directories. */
  readonly store?: {
    readonly bucket: string
    /** Of all keys: empty, or ends with `/`. */
    readonly prefix: string
    /** Undefined: Amazon's, by the region. */
    readonly endpoint?: string
    /** Undefined: as the SDK finds it. */
    readonly region?: string
    /** The bucket is in the path of an address, not in the host name. */
    readonly pathStyle: boolean
    /** What bodies on their way to the store may hold of the memory, all together, in bytes. */
    readonly memoryBytes: number
  }
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
    /** For how long a listener with a link may read from the store itself; undefined: the service sends the bytes. */
    readonly redirectMs?: number
    /** Undefined: one is made at the first start, and kept in the data directory. */
    readonly linkSecret?: Uint8Array
  }
  /** Its path ends with `/`, so that `new URL('api/…', publicUrl)` keeps the prefix. */
  readonly publicUrl?: URL
  /** What Express' `trust proxy` takes. */
  readonly trustProxy: boolean | number | string
  /** Exact origins; empty: no other origin may ask. */
  readonly cors: '*' | readonly string[]
  /** Undefined: nothing is measured. */
  readonly metrics?: MetricsSetting
  readonly logLevel: LogLevel
  /** Undefined: none are made. Where they are posted, and with which headers, their library reads by itself (`OTEL_…`). */
  readonly traces?: { readonly serviceName: string }
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

export type Environment = Readonly<Record<string, string | undefined>>

/**
 * Reads and checks all settings. An empty setting counts as one that is not there.
 *
 * The result is frozen to its depths; relative paths are resolved against the working directory. Touches no file.
 *
 * @throws ConfigError with every fault there is
 */
export function readConfig(env: Environment = process.env): Config {
  const testing = textOf(env, 'NODE_ENV') === 'test'
  const names = (Object.keys(SETTINGS) as SettingName[]).filter((name) => name !== TEST_ONLY || testing)
  const unknownFaults = Object.keys(env)
    .filter((name) => /^RECORDINGS_/i.test(name) && env[name] && !OF_COMMANDS.includes(name))
    .filter((name) => !names.includes(name as SettingName))
    .map((name) => unknown(name, names))
  const { values, faults } = read(env, names)
  const keys = KEY_SETTINGS.filter((name) => textOf(env, name) !== undefined)
  const all = [...unknownFaults, ...faults, ...contradictions(values, keys)]
  if (all.length > 0) throw new ConfigError(all)
  return deepFreeze(toConfig(values as Sound))
}

/** The settings that are given, by their names; a secret's value is left out. */
export function givenSettings(env: Environment = process.env): [SettingName, string | undefined][] {
  return (Object.keys(SETTINGS) as SettingName[]).flatMap((name) => {
    const given = textOf(env, name)
    return given === undefined ? [] : [[name, HIDDEN.includes(name) ? undefined : given]]
  })
}

/**
 * The settings of another service than the environment's. Where its store's SDK looks by itself (`AWS_*`), it is put: there is
 * one such place in a process.
 *
 * @throws ConfigError, also where the environment has something else there
 */
export function readOther(env: Environment): Config {
  const config = readConfig(env)
  const own = Object.entries(env).filter(([name, value]) => name.startsWith('AWS_') && value)
  const faults = own
    .filter(([name, value]) => (process.env[name] ?? value) !== value)
    .map(([name]) => `${name} is another one in the environment: expected one for both`)
  if (faults.length > 0) throw new ConfigError(faults)
  for (const [name, value] of own) process.env[name] = value
  return config
}

function textOf(env: Environment, name: SettingName): string | undefined {
  const text = SECRETS.includes(name) ? env[name] : env[name]?.trim()
  return text === '' ? undefined : text
}

/** What of the named settings can be read, and what is wrong with the others. */
function read(env: Environment, names: readonly SettingName[]): { values: Values; faults: string[] } {
  const values: Record<string, unknown> = {}
  const faults: string[] = []
  for (const name of names) {
    const text = textOf(env, name)
    if (text !== undefined && isQuoted(text)) {
      faults.push(`${name} is in quotes: expected what is between them, since they would be part of the value`)
      continue
    }
    const result = SETTINGS[name].safeParse(text)
    if (result.success) values[name] = result.data
    else faults.push(`${name} is ${shown(name, text)}: expected ${result.error.issues[0]?.message}`)
  }
  return { values, faults }
}

/** The store alone, for an operator who looks at it before all else is there. @throws ConfigError, also where none is named */
export function readStore(env: Environment = process.env): NonNullable<Config['store']> {
  const { values, faults } = read(env, STORE_SETTINGS)
  const store = storeSetting(values)
  if (store === undefined && faults.length === 0) {
    faults.push('RECORDINGS_STORE is not given: expected a bucket, such as s3://calls/production')
  }
  if (store === undefined || faults.length > 0) throw new ConfigError(faults)
  return deepFreeze(store)
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
  const { dataDir, recordings, uploads } = namedPaths(values)
  return { dataDir, recordingsDir: recordings, uploadsDir: uploads, keyFile: values.RECORDINGS_JWKS_FILE }
}

function toConfig(values: Sound): Config {
  const production = values.NODE_ENV === 'production'
  const { dataDir, database, recordings, uploads } = namedPaths(values)
  const key = keySetting(values, dataDir)
  const symmetric = key.kind === 'secret' || key.kind === 'made'
  return {
    production,
    host: values.HOST,
    port: values.PORT,
    dataDir,
    databaseFile: database,
    postgres: values.RECORDINGS_DATABASE_URL && {
      url: values.RECORDINGS_DATABASE_URL,
      connections: values.RECORDINGS_DATABASE_CONNECTIONS,
      readConnections: values.RECORDINGS_DATABASE_READ_CONNECTIONS,
      statementTimeoutMs: values.RECORDINGS_DATABASE_STATEMENT_TIMEOUT,
    },
    recordingsDir: recordings,
    uploadsDir: uploads,
    store: storeSetting(values),
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
      redirectMs: values.RECORDINGS_PLAYBACK_REDIRECT,
      linkSecret: values.RECORDINGS_PLAYBACK_LINK_SECRET,
    },
    publicUrl: values.RECORDINGS_PUBLIC_URL,
    trustProxy: values.RECORDINGS_TRUST_PROXY,
    cors: values.RECORDINGS_CORS_ORIGINS ?? (production ? [] : '*'),
    metrics: metricsSetting(values),
    logLevel: values.LOG_LEVEL,
    traces: values.OTEL_EXPORTER_OTLP_ENDPOINT && { serviceName: values.OTEL_SERVICE_NAME },
    crashAt: values.RECORDINGS_TEST_CRASH_AT,
  }
}

function storeSetting(values: Values): Config['store'] {
  if (values.RECORDINGS_STORE === undefined || values.RECORDINGS_UPLOAD_MEMORY === undefined) return undefined
  const endpoint = values.RECORDINGS_S3_ENDPOINT
  return {
    ...values.RECORDINGS_STORE,
    endpoint,
    region: values.RECORDINGS_S3_REGION,
    // Names of buckets resolve at Amazon; a server of one's own rarely has them.
    pathStyle: values.RECORDINGS_S3_PATH_STYLE ?? endpoint !== undefined,
    memoryBytes: values.RECORDINGS_UPLOAD_MEMORY,
  }
}

function metricsSetting(values: Sound): MetricsSetting | undefined {
  const { RECORDINGS_METRICS_PORT: port, RECORDINGS_METRICS_TOKEN: token } = values
  if (port !== undefined) return { at: 'port', port }
  if (token !== undefined) return { at: 'token', token }
  return values.NODE_ENV === 'production' ? undefined : { at: 'open' }
}

function keySetting(values: Sound, dataDir: string): KeySetting {
  if (values.RECORDINGS_JWT_SECRET) return { kind: 'secret', secret: values.RECORDINGS_JWT_SECRET }
  if (values.RECORDINGS_JWKS_URL) return { kind: 'jwks-url', url: values.RECORDINGS_JWKS_URL }
  if (values.RECORDINGS_JWKS_FILE) return { kind: 'jwks-file', file: values.RECORDINGS_JWKS_FILE }
  return { kind: 'made', file: path.join(dataDir, 'jwt-secret') }
}

/** Bytes cannot be frozen, nor can what a URL holds inside. */
function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return value
  for (const part of Object.values(value)) deepFreeze(part)
  return Object.freeze(value)
}

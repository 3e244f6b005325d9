/**
 * The table of settings: each one's name, the kind of its value and its default.
 *
 * The list in docs/operating.md is held against it. It reads nothing: `config.ts` gives it the environment's texts.
 */
import { z } from 'zod'
import {
  ASYMMETRIC,
  accelRedirect,
  algorithms,
  bearerToken,
  corsOrigins,
  directory,
  httpUrl,
  integer,
  isHost,
  MAX_CHUNK_SIZE,
  MAX_TIME_MS,
  MAX_TIMER_MS,
  MILLISECONDS,
  MIN_SECRET_BYTES,
  origin,
  plain,
  postgresUrl,
  publicUrl,
  SYMMETRIC,
  secret,
  setting,
  size,
  sizeFrom,
  storeAddress,
  time,
  trustProxy,
  yesOrNo,
} from './values.ts'

const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const

export type LogLevel = (typeof LOG_LEVELS)[number]

export const SETTINGS = {
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
  RECORDINGS_DATABASE_URL: setting(
    'an address such as postgres://user:password@host:5432/database, with what is special in the password percent-encoded',
    postgresUrl,
  ).optional(),
  RECORDINGS_DATABASE_CONNECTIONS: integer(1, 1_000).prefault('8'),
  RECORDINGS_DATABASE_READ_CONNECTIONS: integer(1, 100).prefault('2'),
  RECORDINGS_DATABASE_STATEMENT_TIMEOUT: time(1, 10 * MILLISECONDS.m, '10m').prefault('4s'),
  RECORDINGS_STORE: setting(
    'a bucket and, if need be, a prefix, such as s3://calls/production',
    storeAddress,
  ).optional(),
  RECORDINGS_S3_ENDPOINT: setting(
    'an http or https address without a path, such as https://s3.example',
    origin,
  ).optional(),
  RECORDINGS_S3_REGION: setting('a region such as eu-central-1', (text) =>
    /^[a-z0-9-]{1,64}$/i.test(text) ? text : undefined,
  ).optional(),
  RECORDINGS_S3_PATH_STYLE: yesOrNo.optional(),
  RECORDINGS_UPLOAD_MEMORY: sizeFrom('64MiB').prefault('256MiB'),
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
    algorithms,
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
  RECORDINGS_PLAYBACK_LINK_SECRET: setting(
    `${MIN_SECRET_BYTES} bytes or more, as text without a line break, such as the output of \`openssl rand -base64 48\``,
    secret,
  ).optional(),
  /** What the store signs lives for a week at most. */
  RECORDINGS_PLAYBACK_REDIRECT: time(1, 7 * MILLISECONDS.d, '7d').optional(),
  RECORDINGS_PLAYBACK_LINK_EXPIRES_AFTER: time(1, MAX_TIME_MS, '3650d').prefault('10m'),
  OTEL_EXPORTER_OTLP_ENDPOINT: setting(
    'the http or https address of a collector, such as http://127.0.0.1:4318',
    httpUrl,
  ).optional(),
  OTEL_SERVICE_NAME: plain.prefault('call-recordings'),
  RECORDINGS_METRICS_PORT: integer(1, 65_535).optional(),
  RECORDINGS_METRICS_TOKEN: setting(
    '16 or more of A-Z a-z 0-9 - . _ ~ + /, such as the output of `openssl rand -base64 48`',
    bearerToken,
  ).optional(),
  RECORDINGS_TEST_CRASH_AT: plain.optional(),
} as const

export type SettingName = keyof typeof SETTINGS
/** What could be read; a setting with a fault is missing. */
export type Values = { [Name in SettingName]?: z.output<(typeof SETTINGS)[Name]> }
/** All could be read. */
export type Sound = { [Name in SettingName]: z.output<(typeof SETTINGS)[Name]> }

export const SECRET = 'RECORDINGS_JWT_SECRET'
/** Not to be trimmed: their bytes are keys. */
export const SECRETS: readonly SettingName[] = [SECRET, 'RECORDINGS_PLAYBACK_LINK_SECRET']
/** Never shown, not even in part. */
export const HIDDEN: readonly SettingName[] = [...SECRETS, 'RECORDINGS_DATABASE_URL', 'RECORDINGS_METRICS_TOKEN']
export const KEY_SETTINGS = ['RECORDINGS_JWT_SECRET', 'RECORDINGS_JWKS_URL', 'RECORDINGS_JWKS_FILE'] as const
/** All that says where the store is, and how it is used. */
export const STORE_SETTINGS = [
  'RECORDINGS_STORE',
  'RECORDINGS_S3_ENDPOINT',
  'RECORDINGS_S3_REGION',
  'RECORDINGS_S3_PATH_STYLE',
  'RECORDINGS_UPLOAD_MEMORY',
] as const
/** What a command reads beside the settings: in an operator's environment it is no mistake. */
export const OF_COMMANDS: readonly string[] = ['RECORDINGS_TOKEN']
/** Known under NODE_ENV=test alone. */
export const TEST_ONLY = 'RECORDINGS_TEST_CRASH_AT'

/** Every setting by its name, with the default as it would be given; undefined where there is none. */
export function settingDefaults(): ReadonlyMap<SettingName, string | undefined> {
  const names = (Object.keys(SETTINGS) as SettingName[]).filter((name) => name !== TEST_ONLY)
  return new Map(
    names.map((name) => {
      const schema: z.ZodType = SETTINGS[name]
      return [name, schema instanceof z.ZodPrefault ? String(schema.def.defaultValue) : undefined]
    }),
  )
}

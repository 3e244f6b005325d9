/**
 * The kinds of value that settings have: how the text of each is read, and what is told of a text that is none.
 *
 * Pure: no setting is known here by its name, and nothing is read from anywhere.
 */
import { isIP } from 'node:net'
import path from 'node:path'
import { inspect } from 'node:util'
import { z } from 'zod'

/** Bytes that say nothing of themselves when they are printed, logged or turned to JSON. */
export class Secret extends Uint8Array {
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

/** An address with a password in it, which says nothing of that when it is printed, logged or turned to JSON. */
export class SecretUrl {
  readonly #text: string

  constructor(text: string) {
    this.#text = text
  }

  /** As it was given, for who connects there. */
  get text(): string {
    return this.#text
  }
  toString(): string {
    const { protocol, username, host, pathname } = new URL(this.#text)
    return `${protocol}//${username === '' ? '' : `${username}:***@`}${host}${pathname}`
  }
  toJSON(): string {
    return `${this}`
  }
  [inspect.custom](): string {
    return `${this}`
  }
}

const BYTES = { b: 1, kib: 2 ** 10, mib: 2 ** 20, gib: 2 ** 30, tib: 2 ** 40 } as const
export const MILLISECONDS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const
/** Beyond it setTimeout fires at once. */
export const MAX_TIMER_MS = 2 ** 31 - 1
export const MAX_TIME_MS = 3650 * MILLISECONDS.d
/** A legacy chunk is held in memory, in its Base64. */
export const MAX_CHUNK_SIZE = 256 * BYTES.mib
export const MIN_SECRET_BYTES = 32

export const SYMMETRIC: Record<string, { minSecretBytes: number }> = {
  HS256: { minSecretBytes: 32 }, // RFC 7518 §3.2: a key of the hash's size or larger
  HS384: { minSecretBytes: 48 },
  HS512: { minSecretBytes: 64 },
}
export const ASYMMETRIC = 'RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA Ed25519'.split(' ')

/** A setting's text turned to its value; `undefined` is a fault, told as "expected …". */
export const setting = <T>(expected: string, parse: (text: string) => T | undefined) =>
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

const sizeIn = (text: string): number | undefined => withUnit(text.toLowerCase(), { '': 1, ...BYTES })

export const size = (min: 0 | 1, max: number = Number.MAX_SAFE_INTEGER, maxText?: string) =>
  setting(`a size in bytes such as 1048576 or 8MiB${bounds(min === 1 ? '1' : undefined, maxText)}`, (text) =>
    within(sizeIn(text), min, max),
  )

export const sizeFrom = (minText: string) =>
  setting(`a size in bytes such as 1073741824 or 1GiB${bounds(minText, undefined)}`, (text) =>
    within(sizeIn(text), sizeIn(minText) as number, Number.MAX_SAFE_INTEGER),
  )

export const yesOrNo = setting('true or false', (text) => (/^(true|false)$/.test(text) ? text === 'true' : undefined))

/** In milliseconds. */
export const timeIn = (text: string): number | undefined => withUnit(text, MILLISECONDS)

export const time = (min: 0 | 1, max: number, maxText: string) =>
  setting(`a time such as 500ms, 30s, 10m, 24h or 7d${bounds(min === 1 ? '1ms' : undefined, maxText)}`, (text) =>
    within(timeIn(text), min, max),
  )

export const integer = (min: number, max: number) =>
  setting(`a whole number from ${min} to ${max}`, (text) => within(withUnit(text, { '': 1 }), min, max))

export const list = (text: string) => text.split(/[\s,]+/).filter((part) => part !== '')

export const isHost = (text: string) =>
  isIP(text) !== 0 || /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?$/i.test(text)

export const httpUrl = (text: string): URL | undefined => {
  const url = URL.canParse(text) ? new URL(text) : undefined
  const isPlain = url && /^https?:$/.test(url.protocol) && url.username === '' && url.password === '' && url.hash === ''
  return isPlain ? url : undefined
}

export const publicUrl = (text: string): URL | undefined => {
  const url = httpUrl(text)
  if (!url || text.includes('?')) return undefined
  if (!url.pathname.endsWith('/')) url.pathname += '/'
  return url
}

/** Where an S3-compatible server is: no path, no credentials. */
export const origin = (text: string): string | undefined => {
  const url = httpUrl(text)
  return url && url.pathname === '/' && url.search === '' ? url.origin : undefined
}

/** A bucket by S3's rules for names, and a prefix of plain characters. */
export const storeAddress = (text: string): { bucket: string; prefix: string } | undefined => {
  const [, bucket, path = ''] = /^s3:\/\/([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])((?:\/[\w.~-]+)*)\/?$/.exec(text) ?? []
  if (bucket === undefined || /(^|\/)\.{1,2}(\/|$)/.test(path)) return undefined
  return { bucket, prefix: path === '' ? '' : `${path.slice(1)}/` }
}

/** RFC 6454 §6.2. Apps in a web view have schemes of their own, such as `capacitor://localhost`. */
const isOrigin = (text: string) =>
  /^https?:/i.test(text)
    ? URL.canParse(text) && new URL(text).origin === text
    : /^[a-z][a-z0-9+.-]*:\/\/[a-z0-9_.-]+(:\d{1,5})?$/.test(text)

export const corsOrigins = (text: string): '*' | readonly string[] | undefined => {
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

export const trustProxy = (text: string): boolean | number | string | undefined => {
  if (text === 'true' || text === 'false') return text === 'true'
  if (/^\d{1,2}$/.test(text)) return Number(text)
  const addresses = list(text)
  return addresses.length > 0 && addresses.every(isProxyAddress) ? addresses.join(', ') : undefined
}

/** It goes into a response header ahead of a recording's path: plain characters, no `..`, one slash at a time. */
export const accelRedirect = (text: string): string | undefined =>
  /^(\/(?!\.{1,2}(\/|$))[\w.~-]+)+\/?$/.test(text) ? text.replace(/\/?$/, '/') : undefined

export const secret = (text: string): Secret | undefined => {
  if (/[\r\n]/.test(text)) return undefined
  const bytes = new TextEncoder().encode(text)
  return bytes.length >= MIN_SECRET_BYTES && !text.trimStart().startsWith('-----BEGIN') ? new Secret(bytes) : undefined
}

/** What goes behind `Bearer` (RFC 6750 §2.1), of a length that nobody guesses. */
export const bearerToken = (text: string): Secret | undefined =>
  /^[\w.~+/-]{16,}=*$/.test(text) ? new Secret(new TextEncoder().encode(text)) : undefined

/** As `psql` takes it too; a database has to be named. */
export const postgresUrl = (text: string): SecretUrl | undefined => {
  const url = URL.canParse(text) ? new URL(text) : undefined
  const hasHost = url && (url.hostname !== '' || url.searchParams.has('host'))
  const isPostgres = hasHost && /^postgres(ql)?:$/.test(url.protocol) && /^\/[^/]+$/.test(url.pathname)
  return isPostgres ? new SecretUrl(text) : undefined
}

/** Names of signature algorithms, each of them known here. */
export const algorithms = (text: string): string[] | undefined => {
  const names = [...new Set(list(text))]
  const areKnown = names.every((name) => Object.hasOwn(SYMMETRIC, name) || ASYMMETRIC.includes(name))
  return names.length > 0 && areKnown ? names : undefined
}

export const plain = setting('a value', (text) => text)
export const directory = setting('a path', (text) => path.resolve(text))

/**
 * The keys that tokens are checked with: a secret of ours, or a set of public keys (RFC 7517) from a file or an address.
 *
 * A file is judged once, at the start. An address is asked when it is needed, and may answer anything: what it fails at
 * is no fault of the token, and is not kept.
 */
import { KeyObject, type webcrypto } from 'node:crypto'
import {
  createLocalJWKSet,
  createRemoteJWKSet,
  customFetch,
  type FetchImplementation,
  importJWK,
  type JSONWebKeySet,
  type JWK,
  type JWTVerifyGetKey,
} from 'jose'
import { ConfigError, type KeySetting } from '../config/config.ts'
import { keptSecret } from '../config/kept-secret.ts'
import { inKeyFile } from '../config/key-file.ts'

/** @throws ConfigError for a file that holds no key that could be used */
export async function keysOf(key: KeySetting): Promise<Uint8Array | JWTVerifyGetKey> {
  switch (key.kind) {
    case 'secret':
      return key.secret
    case 'made':
      return keptSecret(key.file)
    case 'jwks-url':
      return createRemoteJWKSet(key.url, { [customFetch]: fetchSet })
    case 'jwks-file':
      return createLocalJWKSet(await setInFile(key.file))
  }
}

/** What is wrong with a file of keys, as faults of the settings; none where no file is named. */
export async function faultsOfKeyFile(file: string | undefined): Promise<readonly string[]> {
  try {
    if (file !== undefined) await setInFile(file)
    return []
  } catch (error) {
    if (error instanceof ConfigError) return error.faults
    throw error
  }
}

/** A set without a key that could be used is refused here: jose would keep it for ten minutes. */
const fetchSet: FetchImplementation = async (url, options) => {
  const response = await fetch(url, options)
  if (response.status !== 200) return response
  const text = await response.text()
  await judged(text)
  return new Response(text)
}

/** What keeps the set at an address from being used, as a sentence goes on from its name; undefined for a good one. */
export async function faultsOfKeyUrl(url: URL, withinMs: number): Promise<string | undefined> {
  try {
    const response = await fetchSet(url.href, {
      method: 'GET',
      headers: new Headers({ accept: 'application/json' }),
      redirect: 'manual',
      signal: AbortSignal.timeout(withinMs),
    })
    return response.status === 200 ? undefined : `answers ${response.status}: expected 200 with a JSON Web Key Set`
  } catch (error) {
    const { cause, message } = error as Error
    const reason = cause instanceof Error ? ((cause as NodeJS.ErrnoException).code ?? cause.message) : message
    return `is out of reach or of no use (${reason})`
  }
}

const setInFile = (file: string): Promise<JSONWebKeySet> =>
  inKeyFile(file, async (text) => {
    const { set, faults } = await judged(text)
    if (faults.includes(PRIVATE)) throw new Error(`a key in it ${PRIVATE}: expected public keys`)
    return set
  })

const EXPECTED = 'expected a JSON Web Key Set, {"keys":[…]}'
const PRIVATE = 'is a secret or a private one'

/**
 * The set, and what is wrong with each of its keys. It may hold keys for others (RFC 7517 §5), as long as one is for us.
 *
 * @throws Error with a sentence that goes on from the name of what was read
 */
async function judged(text: string): Promise<{ set: JSONWebKeySet; faults: (string | undefined)[] }> {
  let set: Partial<JSONWebKeySet> | null
  try {
    set = JSON.parse(text.replace(/^\uFEFF/, ''))
  } catch {
    const what = text.trim() === '' ? 'it is empty' : text.includes('-----BEGIN') ? 'it is PEM' : 'it is no JSON'
    throw new Error(`${what}: ${EXPECTED}`)
  }
  if (!Array.isArray(set?.keys)) throw new Error(`it has no list of keys: ${EXPECTED}`)
  if (set.keys.length === 0) throw new Error('its list of keys is empty: expected one or more public keys')
  const faults = await Promise.all(set.keys.map(faultOf))
  if (!faults.includes(undefined)) throw new Error(`a key in it ${faults[0]}: expected public keys`)
  return { set: { keys: set.keys }, faults }
}

/** One that a key of this kind may be used with, to see that it can be read. */
const ALGORITHM_OF: Readonly<Record<string, string>> = {
  RSA: 'RS256',
  'P-256': 'ES256',
  'P-384': 'ES384',
  'P-521': 'ES512',
  Ed25519: 'EdDSA',
}

/** What keeps a key from being used; undefined for a good one. */
async function faultOf(key: unknown): Promise<string | undefined> {
  if (typeof key !== 'object' || key === null) return 'is no object'
  const jwk = key as JWK
  if (jwk.d !== undefined || jwk.kty === 'oct') return PRIVATE
  const garbled = (jwk.kty === 'RSA' ? RSA_NUMBERS : POINT).find(
    (name) => jwk[name] !== undefined && !isBase64(jwk[name]),
  )
  if (garbled !== undefined) return `can't be used (its ${garbled} is no Base64)`
  try {
    const imported = await importJWK(jwk, jwk.alg ?? ALGORITHM_OF[jwk.crv ?? jwk.kty ?? ''])
    return jwk.kty === 'RSA' ? weaknessOf(imported as webcrypto.CryptoKey) : undefined
  } catch (error) {
    return `can't be used (${(error as Error).message})`
  }
}

/** The members of a public key that are numbers in Base64; libraries pass over what is none. */
const RSA_NUMBERS = ['n', 'e'] as const
const POINT = ['x', 'y'] as const

/** In either alphabet, as those libraries take it. */
const isBase64 = (text: unknown) => typeof text === 'string' && /^[\w+/-]+={0,2}$/.test(text)

/** RFC 7518 §3.3. With a smaller modulus or another exponent no token would be accepted, or any. */
function weaknessOf(key: webcrypto.CryptoKey): string | undefined {
  const { modulusLength = 0, publicExponent = 0n } = KeyObject.from(key).asymmetricKeyDetails ?? {}
  if (modulusLength < MIN_MODULUS_BITS) {
    return `can't be used (its modulus n has ${modulusLength} bits, fewer than ${MIN_MODULUS_BITS})`
  }
  return publicExponent < 3n || publicExponent % 2n === 0n ? "can't be used (its e is no exponent)" : undefined
}

const MIN_MODULUS_BITS = 2_048

/**
 * The headers of a tus request (tus 1.0), checked to the letter before anything is done.
 *
 * The library refuses headers that a proxy adds, so it is shown only what it needs. Pure: headers in, values or a
 * ServiceError out.
 */
import type { IncomingHttpHeaders } from 'node:http'
import { ServiceError, typeNotTaken } from '../../errors.ts'
import { assertPlain } from '../../http/plain-body.ts'
import { sha256In } from '../../http/repr-digest.ts'
import { isId } from '../../ids.ts'

/** What bytes are sent as, in PATCH and in a creation with upload. */
const OFFSET_TYPE = 'application/offset+octet-stream'

/** What a creation says of its part in a concatenation. */
export type Concat = { kind: 'partial' } | { kind: 'final'; addresses: string[] }

/** `Upload-Metadata`, decoded; an empty value is an empty buffer. */
export type UploadMetadata = ReadonlyMap<string, Buffer>

/** The headers that the engine may see, by their lower-case names. */
export type EngineHeaders = Readonly<Record<string, string | undefined>>

const text = (headers: IncomingHttpHeaders, name: string): string | undefined => {
  const value = headers[name]
  return Array.isArray(value) ? value.join(', ') : value
}

/**
 * The method a request means: `X-HTTP-Method-Override` counts on POST alone, since it is there for clients that can
 * send no PATCH or DELETE, and a cached or safe method must not turn into another.
 *
 * @see tus 1.0 § X-HTTP-Method-Override
 */
export function methodOf(method: string, headers: IncomingHttpHeaders): string {
  const override = method === 'POST' ? text(headers, 'x-http-method-override') : undefined
  return override === undefined ? method : override.toUpperCase()
}

/**
 * A count of bytes: digits without sign, leading zero, fraction or exponent. `Infinity` for one too large to count.
 *
 * @throws ServiceError 400
 * @see tus 1.0 § Upload-Offset, § Upload-Length
 */
function bytesIn(headers: IncomingHttpHeaders, name: string): number | undefined {
  const value = text(headers, name)
  if (value === undefined) return undefined
  if (!/^(0|[1-9]\d*)$/.test(value)) {
    throw new ServiceError('invalid_length', `${titled(name)} must be a plain non-negative integer.`)
  }
  const bytes = Number(value)
  return Number.isSafeInteger(bytes) ? bytes : Number.POSITIVE_INFINITY
}

const titled = (name: string) => name.replace(/(^|-)[a-z]/g, (letter) => letter.toUpperCase())

/** True for the type that bytes are sent as (RFC 9110 §8.3.1: letters of either case, parameters aside). */
export const isOffsetStream = (contentType: string | undefined) =>
  contentType !== undefined && (contentType.split(';', 1)[0] as string).trim().toLowerCase() === OFFSET_TYPE

/** The bytes that a request says to bring; undefined where it sends them in chunks. */
export const bodyBytes = (headers: IncomingHttpHeaders): number | undefined =>
  headers['transfer-encoding'] !== undefined ? undefined : Number(headers['content-length'] ?? 0)

export const hasBody = (headers: IncomingHttpHeaders): boolean => bodyBytes(headers) !== 0

const wrongType = () => typeNotTaken(`Bytes are sent as ${OFFSET_TYPE}.`, [OFFSET_TYPE])

/**
 * The pairs of `Upload-Metadata` as they came. White space around commas is none of theirs, and Node has joined the lines
 * of a header that came on several; empty elements are passed over.
 *
 * @see RFC 9110 §5.3, §5.6.1.2
 */
const pairsOf = (headers: IncomingHttpHeaders): string[] =>
  text(headers, 'upload-metadata')
    ?.split(',')
    .map((pair) => pair.trim())
    .filter((pair) => pair !== '') ?? []

/** As much of a pair as a sentence can show. */
const SHOWN_CHARACTERS = 80

/** Base64 whose padding may be missing, but is right where it is there. */
const isBase64 = (digits: string, padding: string) =>
  digits.length % 4 !== 1 && (padding === '' || (digits.length + padding.length) % 4 === 0)

/**
 * @throws ServiceError `invalid_metadata`, which names the pair
 * @see tus 1.0 § Upload-Metadata
 */
export function metadataOf(headers: IncomingHttpHeaders): UploadMetadata {
  const values = new Map<string, Buffer>()
  for (const pair of pairsOf(headers)) {
    const [, key, digits = '', padding = ''] =
      /^([\x21-\x2b\x2d-\x7e]+)(?: ([A-Za-z0-9+/]*)(={0,2}))?$/.exec(pair) ?? []
    if (key === undefined || !isBase64(digits, padding)) {
      const shown = JSON.stringify(pair.slice(0, SHOWN_CHARACTERS))
      throw new ServiceError('invalid_metadata', `Upload-Metadata has ${shown}, which is no key, space and Base64.`)
    }
    if (values.has(key)) throw new ServiceError('invalid_metadata', `Upload-Metadata names ${key} twice.`)
    values.set(key, Buffer.from(digits, 'base64'))
  }
  return values
}

/** The pairs as they came, but for white space around commas: a client that reads them again need not expect any. */
function repeatedMetadata(headers: IncomingHttpHeaders): string | null {
  const header = text(headers, 'upload-metadata')
  if (header === undefined) return null
  // A space at the end of a key is that of an empty value.
  const bare = (pair: string) => (pair.trim().includes(' ') ? pair.trim() : pair.trimStart())
  return header
    .split(',')
    .map(bare)
    .filter((pair) => pair.trim() !== '')
    .join(',')
}

/** A value that must be text; undefined where it is missing or empty. @throws ServiceError `invalid_metadata` when it is no UTF-8 */
export function textOf(metadata: UploadMetadata, key: string): string | undefined {
  const value = metadata.get(key)
  if (value === undefined || value.length === 0) return undefined
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(value)
  } catch {
    throw new ServiceError('invalid_metadata', `The value of ${key} in Upload-Metadata is no UTF-8.`)
  }
}

/**
 * @throws ServiceError `invalid_parameter`
 * @see tus 1.0 § Upload-Concat
 */
export function concatOf(headers: IncomingHttpHeaders): Concat | undefined {
  const header = text(headers, 'upload-concat')
  if (header === undefined) return undefined
  if (header === 'partial') return { kind: 'partial' }
  const addresses = header.startsWith('final;') ? header.slice('final;'.length).split(' ').filter(Boolean) : []
  if (addresses.length === 0) {
    throw new ServiceError('invalid_parameter', 'Upload-Concat must be partial, or final; and the parts’ addresses.')
  }
  return { kind: 'final', addresses }
}

/** An address or path without the slash that some put at its end. */
const withoutSlash = (address: string): string => (address.endsWith('/') ? address.slice(0, -1) : address)

/**
 * The ids of the parts of a final upload, which must be uploads of its own lead, each at most once. Hosts are not compared:
 * behind a proxy we have several names.
 *
 * @param collection the path that uploads of the lead lie under
 * @throws ServiceError `invalid_parameter` or `upload_not_found`
 */
export function partIdsIn(addresses: readonly string[], collection: string): string[] {
  const ids = new Set<string>()
  for (const address of addresses) {
    const base = `http://localhost${collection}`
    const parsed = URL.canParse(address, base) ? new URL(address, base).pathname : ''
    const path = withoutSlash(parsed)
    const at = path.lastIndexOf('/')
    const id = path.slice(at + 1)
    if (!path.slice(0, at).endsWith(collection) || !isId(id)) {
      throw new ServiceError('upload_not_found', 'Upload-Concat names an address that is no upload of this lead.')
    }
    if (ids.has(id)) throw new ServiceError('invalid_parameter', 'Upload-Concat names a part twice.')
    ids.add(id)
  }
  return [...ids]
}

/**
 * The SHA-256 (hex) of the whole that a creation promises: as `sha256` in Upload-Metadata, in hex or Base64, or as
 * `Repr-Digest` (RFC 9530).
 *
 * @throws ServiceError 400 for one that can't be read, or when the two differ
 */
export function promisedSha256(headers: IncomingHttpHeaders, metadata: UploadMetadata): string | undefined {
  const value = textOf(metadata, 'sha256')
  const fromDigest = sha256In(text(headers, 'repr-digest'))
  if (value === undefined) return fromDigest
  const isInBase64 = /^[A-Za-z0-9+/]{43}=?$/.test(value)
  if (!isInBase64 && !/^[0-9a-f]{64}$/i.test(value)) {
    throw new ServiceError('invalid_metadata', 'The value of sha256 in Upload-Metadata must be in hex or Base64.')
  }
  const sha256 = isInBase64 ? Buffer.from(value, 'base64').toString('hex') : value.toLowerCase()
  if (fromDigest !== undefined && fromDigest !== sha256) {
    throw new ServiceError('invalid_parameter', 'Upload-Metadata and Repr-Digest promise different digests.')
  }
  return sha256
}

/** What a creation promises. */
export interface Creation {
  /** Bytes; undefined while deferred, and for a final upload. */
  length: number | undefined
  metadata: UploadMetadata
  /** `Upload-Metadata`, for HEAD to repeat. */
  metadataHeader: string | null
  concat: Concat | undefined
}

/**
 * A creation, as its headers promise it.
 *
 * @throws ServiceError 400, 413 or 415, before anything is created
 * @see tus 1.0 § Creation, § Creation With Upload, § Concatenation
 */
export function creationOf(headers: IncomingHttpHeaders): Creation {
  const length = bytesIn(headers, 'upload-length')
  const defer = text(headers, 'upload-defer-length')
  if (defer !== undefined && defer !== '1') {
    throw new ServiceError('invalid_length', 'Upload-Defer-Length must be 1 or left out.')
  }
  const concat = concatOf(headers)
  const metadata = metadataOf(headers)
  const metadataHeader = repeatedMetadata(headers)
  if (concat?.kind === 'final') {
    if (length !== undefined || defer !== undefined) {
      throw new ServiceError('invalid_length', 'The length of a final upload is that of its parts; it is not declared.')
    }
    if (hasBody(headers)) throw new ServiceError('invalid_request', 'A final upload takes its bytes from its parts.')
    return { length, metadata, metadataHeader, concat }
  }
  if ((length === undefined) === (defer === undefined)) {
    throw new ServiceError('invalid_length', 'Either Upload-Length or Upload-Defer-Length: 1 is required.')
  }
  assertPlain(headers)
  const type = text(headers, 'content-type')
  if (type !== undefined && hasBody(headers) && !isOffsetStream(type)) throw wrongType()
  checkCountable(length)
  if (isOffsetStream(type) && Number(headers['content-length'] ?? 0) > (length ?? Number.POSITIVE_INFINITY)) {
    throw new ServiceError('too_large', 'The body is longer than the upload.')
  }
  return { length, metadata, metadataHeader, concat }
}

/** What a PATCH says of the upload it goes on with. */
export interface Patch {
  /** Bytes. */
  offset: number
  /** Bytes; undefined where it declares none. */
  length: number | undefined
}

/**
 * @throws ServiceError 400 or 415
 * @see tus 1.0 § PATCH, § Upload-Defer-Length
 */
export function patchOf(headers: IncomingHttpHeaders): Patch {
  if (!isOffsetStream(text(headers, 'content-type'))) throw wrongType()
  assertPlain(headers)
  const offset = bytesIn(headers, 'upload-offset')
  if (offset === undefined) throw new ServiceError('missing_parameter', 'The header Upload-Offset is missing.')
  const length = bytesIn(headers, 'upload-length')
  checkCountable(length)
  return { offset, length }
}

function checkCountable(length: number | undefined): void {
  if (length === Number.POSITIVE_INFINITY) throw new ServiceError('too_large', 'The upload is longer than can be told.')
}

/** What the engine is shown of a request: of HEAD and DELETE, nothing else is to be read. */
export const forEngine = (headers: IncomingHttpHeaders): EngineHeaders => ({
  'tus-resumable': text(headers, 'tus-resumable'),
})

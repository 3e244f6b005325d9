/**
 * Which bytes a `Range` header asks for (RFC 9110 §14), and how several of them share one body.
 *
 * range-parser reads the numbers. It is kept away from what it gets wrong: the unit, which it ignores; empty list
 * members, which a recipient must skip (§5.6.1.2); white space inside a range; a suffix longer than the recording,
 * which is all of it (§14.1.2); and one invalid range among valid ones, which spoils the whole header (§14.1.1).
 */
import parseRange from 'range-parser'
import { rangeNotSatisfiable } from '../errors.ts'

/** Zero-based positions; `end` is inclusive. */
export interface ByteRange {
  start: number
  end: number
}

/** Beyond this many parts the whole recording is sent: no player asks so, and each part costs a read. */
const MAX_PARTS = 16

/** One member of a range set: `5-9`, `5-` or `-5` (§14.1.1). */
const RANGE_SPEC = /^(?:(\d+)-(\d*)|-(\d+))$/

/** Compares two runs of digits of any length; numbers past 2^53 must not fall together. */
function isLess(a: string, b: string): boolean {
  const x = a.replace(/^0+(?=\d)/, '')
  const y = b.replace(/^0+(?=\d)/, '')
  return x.length === y.length ? x < y : x.length < y.length
}

const isBlank = (character: string | undefined) => character === ' ' || character === '\t'

/** Without the white space around it (§5.6.3). Not by an expression: one that looks for the end tries at every blank. */
function trimmed(member: string): string {
  let start = 0
  let end = member.length
  while (isBlank(member[start])) start++
  while (end > start && isBlank(member[end - 1])) end--
  return member.slice(start, end)
}

/** What range-parser is to see of one member; `undefined` if it is malformed. */
function readable(member: string, size: number): string | undefined {
  const [, first, last, suffix] = RANGE_SPEC.exec(member) ?? []
  if (suffix !== undefined) return size > 0 && Number(suffix) >= size ? '0-' : member
  if (first === undefined || (last && isLess(last, first))) return undefined
  return member
}

/**
 * Picks the bytes to send for a `Range` header, coalesced where they touch, in the order asked for.
 *
 * Returns `undefined` when the whole recording is to be sent: no header, a unit other than `bytes`, or more than
 * sixteen parts. Whether two or more parts really go out is for `multipartOf` to say.
 *
 * @param size length of the recording in bytes
 * @throws ServiceError `range_not_satisfiable` when the set is malformed or no byte asked for exists
 * @see RFC 9110 §14.1.1, §14.1.2, §14.2, §15.5.17
 */
export function selectRanges(header: string | undefined, size: number): ByteRange[] | undefined {
  const set = header === undefined ? undefined : /^bytes=(.*)$/is.exec(header)?.[1]
  if (set === undefined) return undefined

  const members = set
    .split(',')
    .map(trimmed)
    .filter((member) => member !== '')
    .map((member) => readable(member, size))
  if (members.length === 0 || members.includes(undefined)) throw rangeNotSatisfiable(size)

  const ranges = parseRange(size, `bytes=${members.join(',')}`, { combine: true })
  if (ranges === -1 || ranges === -2) throw rangeNotSatisfiable(size)
  return ranges.length > MAX_PARTS ? undefined : [...ranges]
}

/** The value of a `Content-Range` for bytes that are sent (RFC 9110 §14.4). */
export const contentRange = ({ start, end }: ByteRange, size: number): string => `bytes ${start}-${end}/${size}`

export interface Part extends ByteRange {
  /** What goes before the part's bytes: delimiter and header fields. */
  head: string
}

export interface Multipart {
  contentType: string
  parts: Part[]
  /** What closes the body. */
  tail: string
  /** Length of the whole body in bytes, delimiters included. */
  length: number
}

/**
 * Lays out several ranges as one `multipart/byteranges` body (RFC 9110 §14.6).
 *
 * Returns `undefined` when it would not be shorter than the recording: then that is sent instead.
 *
 * @param boundary 1–70 characters that need no quoting and do not occur in the bytes by chance (RFC 2046 §5.1.1)
 */
export function multipartOf(
  ranges: readonly ByteRange[],
  size: number,
  contentType: string,
  boundary: string,
): Multipart | undefined {
  const tail = `\r\n--${boundary}--\r\n`
  const parts = ranges.map((range, i) => ({
    ...range,
    head: `${i === 0 ? '' : '\r\n'}--${boundary}\r\nContent-Type: ${contentType}\r\nContent-Range: ${contentRange(range, size)}\r\n\r\n`,
  }))
  const length = parts.reduce((sum, part) => sum + part.head.length + part.end - part.start + 1, tail.length)
  if (length > size) return undefined
  return { contentType: `multipart/byteranges; boundary=${boundary}`, parts, tail, length }
}

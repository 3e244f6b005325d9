/**
 * The JSON of a legacy request (RFC 8259), with the one member that is large left where it is.
 *
 * A chunk of 1 MiB is 1.4 MB of text: as a JavaScript string it would be copied three times and then thrown away. So
 * the value of the top-level member `chunk` is found in the bytes and cut out, and what is left goes through
 * `JSON.parse`. Up to the first fault of a text this reads strings as JSON does, and behind the cut the parser is where
 * it would have been: so what is no JSON stays none, whether the fault is before or behind. What is inside is checked
 * when the text is decoded.
 */
import { ServiceError } from '../../errors.ts'
import { notAnObject } from '../../http/request.ts'
import { MAX_REST_BYTES, restOf, type Span, tooMuchBeside } from './beside-chunk.ts'
import { firstOf, hexByteAt, inPlace, nextOf, type Pass, type Progress, SLICE_BYTES } from './passes.ts'

const QUOTE = 0x22
const BACKSLASH = 0x5c
const COLON = 0x3a
const LETTER_U = 0x75

export interface ChunkJson {
  /** All members but a `chunk` that is a string; of members with one name the last, as `JSON.parse` has it. */
  params: Record<string, unknown>
  /** The text of `chunk` between its quotes, still escaped; undefined when it is missing or no string. */
  chunk: Span | undefined
}

const invalid = (cause?: unknown) => new ServiceError('invalid_request', 'The body is not valid JSON.', { cause })

/** Where the string ends whose text begins at `start`: the position of its closing quote; -1 where it does not end. */
function* endOfString(body: Buffer, start: number): Pass<number> {
  let sliceEnd = start + SLICE_BYTES
  for (let end = nextOf(body, QUOTE, start); end >= 0; end = nextOf(body, QUOTE, end + 1)) {
    let first = end
    while (first > start && body[first - 1] === BACKSLASH) first--
    if ((end - first) % 2 === 0) return end
    if (end < sliceEnd) continue
    sliceEnd = end + SLICE_BYTES
    yield
  }
  return -1
}

function skipBlanks(body: Buffer, from: number): number {
  let at = from
  while (body[at] === 0x20 || body[at] === 0x0a || body[at] === 0x0d || body[at] === 0x09) at++
  return at
}

const isChunkKey = (body: Buffer, start: number, end: number): boolean => {
  const raw = body.toString('latin1', start, Math.min(end, start + 31))
  // Each of its five characters may be escaped, in six.
  if (!raw.includes('\\')) return raw === 'chunk'
  try {
    return end - start <= 30 && JSON.parse(`"${raw}"`) === 'chunk'
  } catch {
    return false
  }
}

/**
 * The text of the last top-level `chunk`, if that is a string. What is beside it is counted as it is read, so that no
 * more than may be there is ever looked at.
 *
 * @throws ServiceError `invalid_request` for a string that does not end, `too_large`
 */
function* findChunk(body: Buffer): Pass<Span | undefined> {
  let found: Span | undefined
  let depth = 0
  let longest = 0
  for (let at = 0; at < body.length; at++) {
    if (at - longest > MAX_REST_BYTES) throw tooMuchBeside()
    switch (body[at]) {
      case 0x7b: // {
      case 0x5b: // [
        depth++
        break
      case 0x7d: // }
      case 0x5d: // ]
        depth--
        break
      case QUOTE: {
        const start = at + 1
        const beside = body.subarray(0, longest + MAX_REST_BYTES + 1)
        at = yield* endOfString(beside, start)
        if (at < 0) throw beside.length < body.length ? tooMuchBeside() : invalid()
        if (depth !== 1) break
        const colon = skipBlanks(beside, at + 1)
        if (body[colon] !== COLON || !isChunkKey(body, start, at)) break
        const value = skipBlanks(beside, colon + 1)
        if (body[value] === QUOTE) {
          at = yield* endOfString(body, value + 1)
          if (at < 0) throw invalid()
          found = { start: value + 1, end: at }
          longest = Math.max(longest, at - found.start)
        } else {
          at = value - 1
          found = undefined
        }
      }
    }
  }
  return found
}

/**
 * @throws ServiceError `invalid_request` for what is no JSON object, `too_large` when more than 64 KiB are beside the chunk
 */
export function* readChunkJson(body: Buffer): Pass<ChunkJson> {
  const chunk = yield* findChunk(body)
  const rest = restOf(body, chunk)
  let params: unknown
  try {
    params = JSON.parse(rest)
  } catch (error) {
    throw invalid(error)
  }
  if (params === null || typeof params !== 'object' || Array.isArray(params)) throw notAnObject()
  const members = params as Record<string, unknown>
  if (chunk) delete members.chunk
  return { params: members, chunk }
}

/** What a letter behind a backslash stands for, by its character code; 0 for one that stands for nothing. */
const ESCAPES = Uint8Array.from({ length: 256 }, (_, code) => {
  const at = '/\\"bfnrt'.indexOf(String.fromCharCode(code))
  return at < 0 ? 0 : '/\\"\b\f\n\r\t'.charCodeAt(at)
})

/** Undoes the escapes of some bytes in their place. */
function unescapeSlice(text: Buffer, { from, to }: Progress, until: number): Progress {
  while (from < until) {
    const byte = text[from] as number
    if (byte !== BACKSLASH) {
      text[to++] = byte
      from++
      continue
    }
    const letter = text[from + 1] ?? 0
    if (letter === LETTER_U) {
      const high = hexByteAt(text, from + 2)
      const low = hexByteAt(text, from + 4)
      if (high < 0 || low < 0) throw invalid()
      if (high > 0 || low > 0x7f) {
        throw new ServiceError('invalid_parameter', 'The parameter chunk is not valid Base64.')
      }
      text[to++] = low
      from += 6
    } else {
      const meant = ESCAPES[letter] as number
      if (meant === 0) throw invalid()
      text[to++] = meant
      from += 2
    }
  }
  return { from, to }
}

/**
 * Undoes the escapes (RFC 8259 §7) of a text in ASCII, in place.
 *
 * @returns the new end
 * @throws ServiceError `invalid_request` for an escape that is none and for a control character that needed one;
 *   `invalid_parameter` for a character beyond ASCII
 */
export function* unescapeInPlace(body: Buffer, { start, end }: Span): Pass<number> {
  const text = body.subarray(start, end)
  // The other control characters are no Base64, and refused there.
  if (text.indexOf(0x0a) >= 0 || text.indexOf(0x0d) >= 0) throw invalid()
  return start + (yield* inPlace(text, firstOf(text, BACKSLASH), unescapeSlice))
}

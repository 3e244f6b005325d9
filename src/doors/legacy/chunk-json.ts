/**
 * The JSON of a legacy request (RFC 8259), with the one member that is large left where it is.
 *
 * A chunk of 1 MiB is 1.4 MB of text: as a JavaScript string it would be copied three times and then thrown away. So
 * the value of the top-level member `chunk` is found in the bytes and cut out, and what is left goes through
 * `JSON.parse`. Up to the first fault of a text this reads strings as JSON does, and behind the cut the parser is where
 * it would have been: so what is no JSON stays none, whether the fault is before or behind; what is inside is checked
 * by whoever takes the text.
 */
import { ServiceError } from '../../errors.ts'

/** What a request may have beside its chunk, in bytes. */
const MAX_REST_BYTES = 64 * 1024

const QUOTE = 0x22
const BACKSLASH = 0x5c
const COLON = 0x3a

export interface ChunkJson {
  /** All members but a `chunk` that is a string; of members with one name the last, as `JSON.parse` has it. */
  params: Record<string, unknown>
  /** The text of `chunk` between its quotes, still escaped; undefined when it is missing or no string. */
  chunk: { start: number; end: number } | undefined
}

const invalid = (cause?: unknown) => new ServiceError('invalid_request', 'The body is not valid JSON.', { cause })

/** Where the string ends whose text begins at `start`: the position of its closing quote. */
function endOfString(body: Buffer, start: number): number {
  for (let end = body.indexOf(QUOTE, start); end >= 0; end = body.indexOf(QUOTE, end + 1)) {
    let first = end
    while (first > start && body[first - 1] === BACKSLASH) first--
    if ((end - first) % 2 === 0) return end
  }
  throw invalid()
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

/** The text of the last top-level `chunk`, if that is a string. */
function findChunk(body: Buffer): ChunkJson['chunk'] {
  let found: ChunkJson['chunk']
  let depth = 0
  for (let at = 0; at < body.length; at++) {
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
        at = endOfString(body, start)
        if (depth !== 1) break
        const colon = skipBlanks(body, at + 1)
        if (body[colon] !== COLON || !isChunkKey(body, start, at)) break
        const value = skipBlanks(body, colon + 1)
        if (body[value] === QUOTE) {
          at = endOfString(body, value + 1)
          found = { start: value + 1, end: at }
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
export function readChunkJson(body: Buffer): ChunkJson {
  const chunk = findChunk(body)
  const rest = chunk ? Buffer.concat([body.subarray(0, chunk.start), body.subarray(chunk.end)]) : body
  if (rest.length > MAX_REST_BYTES) {
    throw new ServiceError('too_large', `A request may have ${MAX_REST_BYTES} bytes beside its chunk.`)
  }
  let params: unknown
  try {
    params = JSON.parse(rest.toString())
  } catch (error) {
    throw invalid(error)
  }
  if (params === null || typeof params !== 'object' || Array.isArray(params)) throw invalid()
  const members = params as Record<string, unknown>
  if (chunk) delete members.chunk
  return { params: members, chunk }
}

const ESCAPES: Record<string, number> = { '/': 0x2f, '\\': 0x5c, '"': 0x22, b: 8, f: 12, n: 10, r: 13, t: 9 }

/**
 * Undoes the escapes (RFC 8259 §7) of a text in ASCII, in place.
 *
 * @returns the new end
 * @throws ServiceError `invalid_request` for an escape that is none and for a control character that needed one;
 *   `invalid_parameter` for a character beyond ASCII
 */
export function unescapeInPlace(body: Buffer, { start, end }: { start: number; end: number }): number {
  const text = body.subarray(start, end)
  // The other control characters are no Base64, and refused there.
  if (text.indexOf(0x0a) >= 0 || text.indexOf(0x0d) >= 0) throw invalid()
  let from = text.indexOf(BACKSLASH)
  if (from < 0) return end
  let to = from
  while (from < text.length) {
    const letter = String.fromCharCode(text[from + 1] ?? 0)
    if (letter === 'u') {
      const hex = text.toString('latin1', from + 2, from + 6)
      if (!/^[0-9a-fA-F]{4}$/.test(hex)) throw invalid()
      const code = Number.parseInt(hex, 16)
      if (code > 0x7f) throw new ServiceError('invalid_parameter', 'The parameter chunk is not valid Base64.')
      text[to++] = code
      from += 6
    } else {
      const byte = ESCAPES[letter]
      if (byte === undefined) throw invalid()
      text[to++] = byte
      from += 2
    }
    const next = text.indexOf(BACKSLASH, from)
    const until = next < 0 ? text.length : next
    text.copyWithin(to, from, until)
    to += until - from
    from = until
  }
  return start + to
}

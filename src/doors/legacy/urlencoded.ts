/**
 * Forms as `application/x-www-form-urlencoded` (WHATWG URL § 5), with the one field that is large left where it is.
 */
import { ServiceError } from '../../errors.ts'
import { MAX_REST_BYTES, restOf, type Span, tooMuchBeside } from './beside-chunk.ts'
import { firstOf, hexByteAt, inPlace, nextOf, type Pass, type Progress } from './passes.ts'

/** Of all names together; a chunk needs four. */
const MAX_FIELDS = 1_000

const AMPERSAND = 0x26
const PERCENT = 0x25
const PLUS = 0x2b

/** Undoes the encoding of some bytes in their place. */
function decodeSlice(text: Buffer, { from, to }: Progress, until: number): Progress {
  while (from < until) {
    const byte = text[from] as number
    const escaped = byte === PERCENT ? hexByteAt(text, from + 1) : -1
    if (escaped >= 0) {
      text[to++] = escaped
      from += 3
    } else {
      text[to++] = byte === PLUS ? 0x20 : byte
      from++
    }
  }
  return { from, to }
}

/** Undoes the encoding in place; gives the bytes that are left. */
function* decodeInPlace(text: Buffer): Pass<Buffer> {
  const end = yield* inPlace(text, firstOf(text, PERCENT, PLUS), decodeSlice)
  return text.subarray(0, end)
}

function namesTwice(fields: URLSearchParams): string[] {
  const seen = new Set<string>()
  const names = [...fields.keys()]
  return names.filter((name) => seen.size === seen.add(name).size)
}

/**
 * The last `chunk` among the fields, still encoded. What is beside it is counted as it is read, so that no more than may
 * be there is ever looked at.
 *
 * @throws ServiceError `too_large`, `invalid_request` when there are too many fields
 */
function findChunk(body: Buffer): Span | undefined {
  let found: Span | undefined
  let longest = 0
  let fields = 0
  for (let start = 0; start < body.length; ) {
    if (++fields > MAX_FIELDS) {
      throw new ServiceError('invalid_request', `A form may have ${MAX_FIELDS} fields at most.`)
    }
    if (start - longest > MAX_REST_BYTES) throw tooMuchBeside()
    const next = nextOf(body, AMPERSAND, start)
    const end = next < 0 ? body.length : next
    if (body.toString('latin1', start, start + 6) === 'chunk=') {
      found = { start: start + 6, end }
      longest = Math.max(longest, end - found.start)
    }
    start = end + 1
  }
  return found
}

interface Urlencoded {
  /** Of fields with one name the last. */
  params: Record<string, string>
  /** Names that came more than once. */
  repeated: string[]
  chunk: Buffer | undefined
}

/**
 * The fields, and the bytes of `chunk`, a view of `body`, which is written over.
 *
 * @throws ServiceError `too_large` when more than 64 KiB are beside the chunk, `invalid_request` for too many fields
 */
export function* readUrlencoded(body: Buffer): Pass<Urlencoded> {
  const chunk = findChunk(body)
  const fields = new URLSearchParams(restOf(body, chunk))
  const params = Object.fromEntries(fields)
  delete params.chunk
  return {
    params,
    repeated: namesTwice(fields),
    chunk: chunk && (yield* decodeInPlace(body.subarray(chunk.start, chunk.end))),
  }
}

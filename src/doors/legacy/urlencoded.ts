/**
 * Forms as `application/x-www-form-urlencoded` (WHATWG URL § 5), with the one field that is large left where it is.
 */
import { ServiceError } from '../../errors.ts'
import { hexByteAt, nextOf, type Pass, SLICE_BYTES } from './passes.ts'

/** What a form may have beside its chunk, in bytes. */
const MAX_REST_BYTES = 64 * 1024

/** Of all names together; a chunk needs four. */
const MAX_FIELDS = 1_000

const AMPERSAND = 0x26
const PERCENT = 0x25
const PLUS = 0x2b

interface Progress {
  /** What has been read. */
  from: number
  /** What has been written, never more than has been read. */
  to: number
}

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
  const firstOf = (byte: number) => {
    const at = text.indexOf(byte)
    return at < 0 ? text.length : at
  }
  const from = Math.min(firstOf(PERCENT), firstOf(PLUS))
  let progress = { from, to: from }
  while (progress.from < text.length) {
    if (progress.from > from) yield
    progress = decodeSlice(text, progress, Math.min(progress.from + SLICE_BYTES, text.length))
  }
  return text.subarray(0, progress.to)
}

function namesTwice(fields: URLSearchParams): string[] {
  const seen = new Set<string>()
  const names = [...fields.keys()]
  return names.filter((name) => seen.size === seen.add(name).size)
}

const tooMuch = () => new ServiceError('too_large', `A form may have ${MAX_REST_BYTES} bytes beside its chunk.`)

/**
 * The last `chunk` among the fields, still encoded. What is beside it is counted as it is read, so that no more than may
 * be there is ever looked at.
 *
 * @throws ServiceError `too_large`, `invalid_request` when there are too many fields
 */
function findChunk(body: Buffer): { start: number; end: number } | undefined {
  let found: { start: number; end: number } | undefined
  let longest = 0
  let fields = 0
  for (let start = 0; start < body.length; ) {
    if (++fields > MAX_FIELDS) {
      throw new ServiceError('invalid_request', `A form may have ${MAX_FIELDS} fields at most.`)
    }
    if (start - longest > MAX_REST_BYTES) throw tooMuch()
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
  const rest = chunk ? Buffer.concat([body.subarray(0, chunk.start), body.subarray(chunk.end)]) : body
  if (rest.length > MAX_REST_BYTES) throw tooMuch()
  const fields = new URLSearchParams(rest.toString())
  const params = Object.fromEntries(fields)
  delete params.chunk
  return {
    params,
    repeated: namesTwice(fields),
    chunk: chunk && (yield* decodeInPlace(body.subarray(chunk.start, chunk.end))),
  }
}

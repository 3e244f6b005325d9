/**
 * Forms as `multipart/form-data` (RFC 7578 on RFC 2046 §5.1), read as they come.
 *
 * Parts are handed on in pieces of the buffers that the socket gave, without copies: a delimiter is looked for with
 * `Buffer.indexOf`. A form must end with its closing delimiter, so that a cut one never passes for whole.
 */
import { ServiceError } from '../../errors.ts'
import { assertPlainPart } from '../../http/plain-body.ts'
import { parametersOf, parseContentType } from '../content-type.ts'
import { filenameOf, unescapeName } from './part-filename.ts'

/** The headers of one part, in bytes. */
const MAX_HEADER_BYTES = 16 * 1024

/** One part of a form. */
export interface Part {
  name: string
  /** As the client means it; undefined for a field. A path of the client's may be in front of it. */
  filename: string | undefined
  /** In lower case, without parameters; undefined when it was not told. */
  contentType: string | undefined
}

/** Where the bytes of a part go. */
export interface Sink {
  /** The sink may keep the piece; a promise asks for a pause. */
  write(piece: Buffer): Promise<void> | undefined
  end(): void
}

const malformed = (sentence: string) => new ServiceError('invalid_request', `The form is not well formed: ${sentence}.`)

function parsePart(header: Buffer): Part {
  const text = header.toString()
  const field = (name: string) => new RegExp(`^${name}[ \\t]*:[ \\t]*(.*(?:\\r\\n[ \\t].*)*)`, 'im').exec(text)?.[1]
  const disposition = field('content-disposition')
  if (disposition === undefined || !/^form-data\s*(;|$)/i.test(disposition)) {
    throw malformed('a part says no Content-Disposition: form-data')
  }
  const parameters = parametersOf(disposition)
  const name = parameters.get('name')
  if (name === undefined) throw malformed('a part has no name')
  assertPlainPart(field('content-encoding'), field('content-transfer-encoding'))
  const contentType = field('content-type')
  return {
    name: unescapeName(name),
    filename: filenameOf(disposition, parameters),
    contentType: contentType === undefined ? undefined : parseContentType(contentType).type,
  }
}

/** The boundary of a multipart Content-Type (RFC 2046 §5.1.1). @throws ServiceError `invalid_request` without one */
export function boundaryOf(parameters: Map<string, string>): string {
  const boundary = parameters.get('boundary') ?? ''
  if (!/^[\w'()+,./:=? -]{0,69}[\w'()+,./:=?-]$/.test(boundary)) throw malformed('its Content-Type names no boundary')
  return boundary
}

const NOTHING = Buffer.alloc(0)
const CRLF = Buffer.from('\r\n')
const BLANK_LINE = Buffer.from('\r\n\r\n')
const DASHES = Buffer.from('--')

/** Reads one form, piece by piece. */
export class MultipartReader {
  readonly #delimiter: Buffer
  readonly #onPart: (part: Part) => Sink
  #state: 'preamble' | 'delimiter' | 'headers' | 'part' | 'epilogue' = 'preamble'
  /** What may be the beginning of something longer. */
  #kept: Buffer = CRLF
  #sink: Sink | undefined
  #pause: Promise<void> | undefined

  /** @param onPart is told each part before its first byte */
  constructor(boundary: string, onPart: (part: Part) => Sink) {
    this.#delimiter = Buffer.from(`\r\n--${boundary}`, 'latin1')
    this.#onPart = onPart
  }

  /**
   * Takes the next piece; a promise asks for a pause.
   *
   * @throws ServiceError `invalid_request` for what is no form, and what `onPart` and the sinks throw
   */
  write(piece: Buffer): Promise<void> | undefined {
    let rest: Buffer | undefined = this.#kept.length > 0 ? Buffer.concat([this.#kept, piece]) : piece
    this.#kept = NOTHING
    this.#pause = undefined
    while (rest && rest.length > 0) rest = this.#step(rest)
    return this.#pause
  }

  /** The form's last byte has come. @throws ServiceError `invalid_request` when that was not its end */
  end(): void {
    if (this.#state !== 'epilogue') throw malformed('it ends before its closing delimiter')
  }

  /** Does one step; gives what is left, or undefined when more must come. */
  #step(bytes: Buffer): Buffer | undefined {
    switch (this.#state) {
      case 'preamble':
      case 'part':
        return this.#readTo(bytes)
      case 'delimiter':
        return this.#afterDelimiter(bytes)
      case 'headers':
        return this.#readHeaders(bytes)
      case 'epilogue':
        return undefined
    }
  }

  #readTo(bytes: Buffer): Buffer | undefined {
    const at = bytes.indexOf(this.#delimiter)
    if (at >= 0) {
      this.#give(bytes.subarray(0, at))
      this.#sink?.end()
      this.#sink = undefined
      this.#state = 'delimiter'
      return bytes.subarray(at + this.#delimiter.length)
    }
    const from = this.#partialDelimiter(bytes)
    this.#keep(bytes.subarray(from))
    this.#give(bytes.subarray(0, from))
    return undefined
  }

  /** Where a delimiter begins that the next piece may complete; the length when there is none. */
  #partialDelimiter(bytes: Buffer): number {
    const first = Math.max(0, bytes.length - this.#delimiter.length + 1)
    for (let at = bytes.indexOf(0x0d, first); at >= 0; at = bytes.indexOf(0x0d, at + 1)) {
      if (this.#delimiter.compare(bytes, at, bytes.length, 0, bytes.length - at) === 0) return at
    }
    return bytes.length
  }

  #afterDelimiter(bytes: Buffer): Buffer | undefined {
    if (bytes.length >= 2 && bytes.subarray(0, 2).equals(DASHES)) {
      this.#state = 'epilogue'
      return undefined
    }
    const end = bytes.indexOf(CRLF)
    const padding = bytes.toString('latin1', 0, end < 0 ? bytes.length : end)
    if (!(end < 0 ? /^(-|[ \t]*\r?)$/ : /^[ \t]*$/).test(padding) || padding.length > MAX_HEADER_BYTES) {
      throw malformed('a delimiter is followed by something else')
    }
    if (end < 0) {
      this.#keep(bytes)
      return undefined
    }
    this.#state = 'headers'
    // The line's end stays: it may be half of the blank line.
    return bytes.subarray(end)
  }

  #readHeaders(bytes: Buffer): Buffer | undefined {
    const end = bytes.indexOf(BLANK_LINE)
    if ((end < 0 ? bytes.length : end) > MAX_HEADER_BYTES) throw malformed('the headers of a part are too long')
    if (end < 0) {
      this.#keep(bytes)
      return undefined
    }
    this.#sink = this.#onPart(parsePart(bytes.subarray(2, Math.max(2, end))))
    this.#state = 'part'
    return bytes.subarray(end + BLANK_LINE.length)
  }

  #give(piece: Buffer) {
    if (piece.length === 0) return
    const pause = this.#sink?.write(piece)
    if (pause === undefined) return
    this.#pause = Promise.all([this.#pause, pause]).then(() => {})
    // What else goes wrong in the same piece may be told first.
    this.#pause.catch(() => {})
  }

  /** A copy: a view would keep the socket's buffer alive. */
  #keep(bytes: Buffer) {
    this.#kept = Buffer.from(bytes)
  }
}

/**
 * One form on its way in: its fields, and either a file, which goes to its place before the fields are known, or a chunk,
 * which is gathered until they are.
 */
import type { Readable } from 'node:stream'
import { ServiceError } from '../../errors.ts'
import { givenTwice } from '../../http/request.ts'
import type { Gathering } from '../body.ts'
import { pour } from '../pour.ts'
import { MultipartReader, type Part, type Sink } from './multipart.ts'
import type { SimpleUpload } from './simple-upload.ts'

const MAX_FIELDS = 32
export const MAX_FIELD_BYTES = 64 * 1024
/** A form around its file: fields, headers, delimiters. */
export const MAX_AROUND_BYTES = MAX_FIELDS * MAX_FIELD_BYTES

/** Where the large parts of a form go. */
export interface Takers {
  /** @param filename as the client named it */
  file(filename: string): SimpleUpload
  /** @param isText the chunk is written in Base64 */
  chunk(isText: boolean): Gathering
}

export class IncomingForm {
  /** Without a prototype, so that any name is a field. */
  readonly fields: Record<string, string> = Object.create(null)
  /** Names of fields that came more than once. */
  readonly repeated: string[] = []
  file: SimpleUpload | undefined
  chunk: { gathering: Gathering; isText: boolean } | undefined
  readonly #takers: Takers
  readonly #reader: MultipartReader
  readonly #failed = Promise.withResolvers<never>()
  #parts = 0

  constructor(boundary: string, takers: Takers) {
    this.#takers = takers
    this.#reader = new MultipartReader(boundary, (part) => this.#sinkOf(part))
    this.#failed.promise.catch(() => {})
  }

  /** Reads the form to its end. @throws ServiceError for what is no such form, and what refuses its file or chunk */
  async read(source: Readable, maxBytes: number): Promise<void> {
    let bytes = 0
    const take = (piece: Buffer) => {
      bytes += piece.length
      if (bytes > maxBytes) throw new ServiceError('too_large', 'The form is too long.')
      return this.#reader.write(piece)
    }
    await pour(source, take, this.#failed.promise)
    this.#reader.end()
  }

  #sinkOf(part: Part): Sink {
    if (part.name === 'file' && part.filename !== undefined) return this.#receive(part.filename)
    if (++this.#parts > MAX_FIELDS) {
      throw new ServiceError('invalid_request', `A form may have ${MAX_FIELDS} fields at most.`)
    }
    if (part.name === 'chunk') return this.#gather(part)
    if (part.filename !== undefined) {
      throw new ServiceError('invalid_request', 'The form has a file that is named neither file nor chunk.')
    }
    return textSink(part.name, (text) => {
      if (part.name in this.fields) this.repeated.push(part.name)
      this.fields[part.name] = text
      if (part.name === 'action' && this.file) throw fileAndAction()
    })
  }

  #receive(filename: string): Sink {
    if (this.file) throw new ServiceError('invalid_request', 'A form may have one file.')
    if (this.fields.action !== undefined || this.chunk) throw fileAndAction()
    this.file = this.#takers.file(filename)
    this.file.failed.catch(this.#failed.reject)
    return this.file.sink
  }

  #gather(part: Part): Sink {
    if (this.file) throw fileAndAction()
    if (this.chunk) throw givenTwice('chunk')
    const isText = part.filename === undefined && (part.contentType ?? 'text/plain') === 'text/plain'
    const gathering = this.#takers.chunk(isText)
    this.chunk = { gathering, isText }
    return { write: (piece) => gathering.write(piece), end: () => {} }
  }
}

const fileAndAction = () => new ServiceError('invalid_request', 'A form has either a file or an action.')

/** Takes the text of a field. */
function textSink(name: string, take: (text: string) => void): Sink {
  const pieces: Buffer[] = []
  let bytes = 0
  return {
    write(piece) {
      bytes += piece.length
      if (bytes > MAX_FIELD_BYTES) {
        const sentence = `The field ${JSON.stringify(name.slice(0, 64))} is longer than ${MAX_FIELD_BYTES} bytes.`
        throw new ServiceError('invalid_request', sentence)
      }
      pieces.push(piece)
      return undefined
    },
    end: () => take(Buffer.concat(pieces).toString()),
  }
}

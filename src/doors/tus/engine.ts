/**
 * @tus/server, handed what it needs and no more.
 *
 * Its `handle()` turns the Node request into a web Request and its body into a web stream and back, through a
 * PassThrough and a limiter in 16 KiB steps. Its handlers ask for less: a method, a URL, headers to get, and a way to
 * write. So they get a plain object, bodies stay Node streams that go straight to the core, and what they answer is
 * a plain object too (a `Response` is a stream again), which is written straight to the Node response. What this file
 * relies on inside the library is checked when it is made, and tested.
 */

import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http'
import type { Readable } from 'node:stream'
import { type DataStore, Server, type ServerOptions, type Upload } from '@tus/server'
import { endAnswer } from '../../http/early-answers.ts'
import type { EngineHeaders } from './headers.ts'

/** What the handlers of @tus/server 2.4 read of a request. */
export interface EngineRequest {
  method: string
  url: string
  headers: HeadersView
  body: Readable
  runtime: { node: { req: IncomingMessage; res: ServerResponse } }
}

/** As much of `Headers` as the handlers use. */
class HeadersView {
  readonly #headers: EngineHeaders

  constructor(headers: EngineHeaders) {
    this.#headers = headers
  }

  get(name: string): string | null {
    return this.#headers[name.toLowerCase()] ?? null
  }

  has(name: string): boolean {
    return this.get(name) !== null
  }

  *entries(): IterableIterator<[string, string]> {
    for (const name in this.#headers) {
      const value = this.get(name)
      if (value !== null) yield [name, value]
    }
  }
}

/**
 * Writes a body at the upload's offset and gives the new one.
 *
 * @param maxBytes how many bytes the request may bring
 * @param signal aborts when another request wants the upload, or the connection died
 */
export type WriteBody = (body: Readable, upload: Upload, maxBytes: number, signal: AbortSignal) => Promise<number>

export interface EngineOptions extends Omit<ServerOptions, 'locker' | 'datastore'> {
  datastore: DataStore
  locker: NonNullable<ServerOptions['locker']>
  writeBody: WriteBody
}

/** What the handlers answer: a `Response`, as far as the library and the door look at one. */
export class Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string

  constructor(status: number, headers: ConstructorParameters<typeof Headers>[0] = {}, text = '') {
    this.status = status
    this.headers = new Headers(headers)
    this.text = text
  }

  static async of(response: Response): Promise<Answer> {
    return new Answer(response.status, response.headers, response.body === null ? '' : await response.text())
  }

  get ok(): boolean {
    return this.status >= 200 && this.status < 300
  }
}

/** The parts of a handler that are replaced. */
interface OpenHandler {
  write(status: number, headers?: ConstructorParameters<typeof Headers>[0], text?: string): Answer
  writeToStore(
    body: Readable | null,
    upload: Upload,
    maxBytes: number,
    context: { signal: AbortSignal },
  ): Promise<number>
}

export interface Engine {
  /**
   * Runs one request; the answer is the library's, not yet sent.
   *
   * @param headers what the library may see of the request's headers
   */
  handle(method: string, headers: EngineHeaders, req: IncomingMessage, res: ServerResponse): Promise<Answer>
}

export function createEngine({ writeBody, ...options }: EngineOptions): Engine {
  const server = new Server({ lockDrainTimeout: 1, ...options })
  for (const name of ['PATCH', 'POST'] as const) {
    const handler = server.handlers[name] as unknown as OpenHandler
    for (const replaced of ['writeToStore', 'write'] as const) {
      if (typeof handler[replaced] !== 'function')
        throw new Error(`@tus/server: the ${name} handler has no ${replaced}`)
    }
    handler.write = (status, headers, text) => new Answer(status, headers, text)
    handler.writeToStore = (body, upload, maxBytes, { signal }) =>
      body ? writeBody(body, upload, maxBytes, signal) : Promise.resolve(upload.offset)
  }
  return {
    async handle(method, headers, req, res) {
      const request: EngineRequest = {
        method,
        // The path alone: the library takes whatever follows the last slash for the id.
        url: `http://localhost${(req.url ?? '/').split('?', 1)[0]}`,
        headers: new HeadersView(headers),
        body: req,
        runtime: { node: { req, res } },
      }
      const answer = await server.handleWeb(request as unknown as Parameters<Server['handleWeb']>[0])
      return answer instanceof Answer ? answer : Answer.of(answer)
    },
  }
}

/** Sends the library's answer; `extra` wins over its headers, and its CORS and connection headers are left to ours. */
export async function send(
  req: IncomingMessage,
  res: ServerResponse,
  answer: Answer,
  extra: OutgoingHttpHeaders,
): Promise<void> {
  if (res.headersSent || res.destroyed) return
  for (const [name, value] of answer.headers) {
    if (name.startsWith('access-control-') || name === 'connection' || name === 'content-length') continue
    res.setHeader(name, value)
  }
  for (const name in extra) {
    const value = extra[name]
    if (value !== undefined) res.setHeader(name, value)
  }
  res.statusCode = answer.status
  const { text } = answer
  if (answer.status !== 204) res.setHeader('Content-Length', Buffer.byteLength(text))
  if (text !== '' && !res.hasHeader('Content-Type')) res.setHeader('Content-Type', 'text/plain; charset=utf-8')
  await endAnswer(req, res, text)
}

/**
 * @tus/server, handed what it needs and no more.
 *
 * Its `handle()` turns the Node request into a web Request and its body into a web stream and back, through a
 * PassThrough and a limiter in 16 KiB steps. Its handlers ask for less: a method, a URL, headers to get, and a way to
 * write. So they get a plain object, bodies stay Node streams that go straight to the core, and the Response is
 * written straight to the Node response. What this file relies on inside the library is checked when it is made, and
 * tested.
 */

import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http'
import type { Readable } from 'node:stream'
import { type Locker, Server, type ServerOptions, type Upload } from '@tus/server'
import { endAnswer } from './linger.ts'
import type { Staging } from './staging.ts'
import type { EngineHeaders } from './tus-headers.ts'

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
  datastore: Staging
  locker: Locker
  writeBody: WriteBody
}

/** The part of a handler that is replaced. */
interface WritingHandler {
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
  handle(method: string, headers: EngineHeaders, req: IncomingMessage, res: ServerResponse): Promise<Response>
}

export function createEngine({ writeBody, ...options }: EngineOptions): Engine {
  const server = new Server({ lockDrainTimeout: 1, ...options })
  for (const name of ['PATCH', 'POST'] as const) {
    const handler = server.handlers[name] as unknown as WritingHandler
    if (typeof handler.writeToStore !== 'function')
      throw new Error(`@tus/server: the ${name} handler has no writeToStore`)
    handler.writeToStore = (body, upload, maxBytes, { signal }) =>
      body ? writeBody(body, upload, maxBytes, signal) : Promise.resolve(upload.offset)
  }
  return {
    handle(method, headers, req, res) {
      const request: EngineRequest = {
        method,
        // The path alone: the library takes whatever follows the last slash for the id.
        url: `http://localhost${(req.url ?? '/').split('?', 1)[0]}`,
        headers: new HeadersView(headers),
        body: req,
        runtime: { node: { req, res } },
      }
      return server.handleWeb(request as unknown as Parameters<Server['handleWeb']>[0])
    },
  }
}

/** Sends the library's answer; `extra` wins over its headers, and its CORS and connection headers are left to ours. */
export async function send(
  req: IncomingMessage,
  res: ServerResponse,
  response: Response,
  extra: OutgoingHttpHeaders,
): Promise<void> {
  if (res.headersSent || res.destroyed) return
  for (const [name, value] of response.headers) {
    if (name.startsWith('access-control-') || name === 'connection' || name === 'content-length') continue
    res.setHeader(name, value)
  }
  for (const name in extra) {
    const value = extra[name]
    if (value !== undefined) res.setHeader(name, value)
  }
  res.statusCode = response.status
  const text = response.body === null ? '' : await response.text()
  if (response.status !== 204) res.setHeader('Content-Length', Buffer.byteLength(text))
  if (text !== '' && !res.hasHeader('Content-Type')) res.setHeader('Content-Type', 'text/plain; charset=utf-8')
  await endAnswer(req, res, text)
}

/**
 * @tus/server, handed what it needs and no more.
 *
 * It answers HEAD and DELETE. Its `handle()` turns the Node request into a web Request and the answer back; its handlers ask
 * for less: a method, a URL and headers to get. So they get a plain object, and what they answer is written straight to the
 * Node response. What this file relies on inside the library is tested.
 */

import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http'
import { type DataStore, Server, type ServerOptions } from '@tus/server'
import { endAnswer } from '../../http/early-answers.ts'
import type { EngineHeaders } from './headers.ts'

/** What the handlers of @tus/server 2.4 read of a request. */
export interface EngineRequest {
  method: string
  url: string
  headers: HeadersView
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

/** What the library runs; PATCH and POST are the door's own steps. */
export type EngineMethod = 'HEAD' | 'DELETE'

export interface EngineOptions extends Omit<ServerOptions, 'locker' | 'datastore'> {
  datastore: DataStore
  locker: NonNullable<ServerOptions['locker']>
}

/** An answer of the library's, read. */
export interface Answer {
  ok: boolean
  status: number
  headers: Headers
  text: string
}

export interface Engine {
  /**
   * Runs one request; the answer is the library's, not yet sent.
   *
   * @param headers what the library may see of the request's headers
   */
  handle(method: EngineMethod, headers: EngineHeaders, req: IncomingMessage, res: ServerResponse): Promise<Answer>
}

export function createEngine(options: EngineOptions): Engine {
  const server = new Server({ lockDrainTimeout: 1, ...options })
  return {
    async handle(method, headers, req, res) {
      const request: EngineRequest = {
        method,
        // The path alone: the library takes whatever follows the last slash for the id.
        url: `http://localhost${(req.url ?? '/').split('?', 1)[0]}`,
        headers: new HeadersView(headers),
        runtime: { node: { req, res } },
      }
      const response = await server.handleWeb(request as unknown as Parameters<Server['handleWeb']>[0])
      const text = response.body === null ? '' : await response.text()
      return { ok: response.ok, status: response.status, headers: response.headers, text }
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

/**
 * The HTTP server from its first moment: its limits in time, and what it answers while the service is being opened.
 *
 * A start may wait for a database, or bring its tables up to date: a balancer is told so, and a supervisor that it lives. Who
 * asks for anything else waits for the service, so that a restart costs a client a moment and no refusal.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { passing } from '../errors.ts'
import { problemOf } from './problem.ts'
import { requestIdOf } from './request-log.ts'

/**
 * A body is taken in so far while it is not read yet, as during the commit of its upload: reading goes on instead of
 * stopping and starting again, and bytes are still in the processor's cache when they are hashed.
 */
const READ_AHEAD_BYTES = 256 * 1024

/** A server that listens, and who answers for the service until it is there. */
export interface Listening {
  server: Server
  doorkeeper: Doorkeeper
}

/** Listens on the address; port 0 takes any free one. @throws EADDRINUSE and its kin */
export async function listen({ host, port }: { host: string; port: number }): Promise<Listening> {
  const server = createServer({
    // A slow upload that still moves is no fault; a silent one is ended by server.ts.
    requestTimeout: 0,
    headersTimeout: 60_000,
    keepAliveTimeout: 65_000,
    highWaterMark: READ_AHEAD_BYTES,
  })
  // A client that has said all may end its half of the connection and still wait for its answer. A body cut short is told
  // from that by the parser, and a client that is gone by the first bytes that it refuses.
  Object.assign(server, { httpAllowHalfOpen: true })
  const doorkeeper = new Doorkeeper(server)
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host, port, backlog: 2_048 }, resolve)
  })
  return { server, doorkeeper }
}

/** A request that comes while the service is being opened waits for it, and for no longer. */
const WAITS_AT_MOST_MS = 3_000

type Handler = (req: IncomingMessage, res: ServerResponse) => void

/** Who answers until the service is there. */
export class Doorkeeper {
  readonly #waiting = new Map<ServerResponse, { req: IncomingMessage; timer: NodeJS.Timeout }>()
  readonly #server: Server

  constructor(server: Server) {
    this.#server = server
    server.on('request', this.#answer)
  }

  /** The service is there: those who wait are its guests, in the order in which they came. */
  handOver(handle: Handler): void {
    this.#server.off('request', this.#answer)
    this.#server.on('request', handle)
    for (const [res, { req, timer }] of this.#waiting) {
      clearTimeout(timer)
      req.socket.setTimeout(this.#server.timeout)
      handle(req, res)
    }
    this.#waiting.clear()
  }

  readonly #answer: Handler = (req, res) => {
    const [pathname] = (req.url ?? '').split('?', 1)
    // None stays open that the service would not know of.
    res.setHeader('Connection', 'close')
    if (pathname === '/livez') {
      say(res, 200, '{"status":"ok"}')
    } else if (pathname === '/readyz') {
      say(res, 503, '{"status":"unavailable","reasons":["starting"],"checks":{}}')
    } else {
      const timer = setTimeout(() => this.#giveUp(req, res), WAITS_AT_MOST_MS)
      this.#waiting.set(res, { req, timer })
      res.once('close', () => {
        clearTimeout(timer)
        this.#waiting.delete(res)
      })
    }
  }

  #giveUp(req: IncomingMessage, res: ServerResponse): void {
    this.#waiting.delete(res)
    const told = passing('unavailable', 'The service is starting; try again shortly.')
    const { headers, text } = problemOf(told, req)
    res.writeHead(told.status, { ...headers, 'X-Request-Id': requestIdOf(req), 'Cache-Control': 'no-store' }).end(text)
  }
}

function say(res: ServerResponse, status: number, json: string): void {
  res.writeHead(status, { 'Cache-Control': 'no-store', 'Content-Type': 'application/json; charset=utf-8' }).end(json)
}

/**
 * The HTTP server from its first moment: its limits in time, and what it answers while the service is being opened.
 *
 * A start may wait for a database, or bring its tables up to date: a balancer is told so, and a supervisor that it lives.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { passing } from '../errors.ts'
import { problemOf } from './problem.ts'

/**
 * A body is taken in so far while it is not read yet, as during the commit of its upload: reading goes on instead of
 * stopping and starting again, and bytes are still in the processor's cache when they are hashed.
 */
const READ_AHEAD_BYTES = 256 * 1024

/** Listens on the address; port 0 takes any free one. @throws EADDRINUSE and its kin */
export async function listen({ host, port }: { host: string; port: number }): Promise<Server> {
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
  server.on('request', saysStarting)
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host, port, backlog: 2_048 }, resolve)
  })
  return server
}

/** The handler of requests until the service is there; it is taken off then. */
export function saysStarting(req: IncomingMessage, res: ServerResponse): void {
  const [pathname] = (req.url ?? '').split('?', 1)
  // None stays open that the service would not know of.
  const headers = { 'Cache-Control': 'no-store', Connection: 'close' }
  const json = { ...headers, 'Content-Type': 'application/json; charset=utf-8' }
  if (pathname === '/livez') {
    res.writeHead(200, json).end('{"status":"ok"}')
  } else if (pathname === '/readyz') {
    res.writeHead(503, json).end('{"status":"unavailable","reasons":["starting"],"checks":{}}')
  } else {
    const told = passing('unavailable', 'The service is starting; try again shortly.')
    const problem = problemOf(told, req)
    res.writeHead(told.status, { ...problem.headers, ...headers }).end(problem.text)
  }
}

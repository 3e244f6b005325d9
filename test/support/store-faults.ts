/**
 * A bad way to an S3 store: an HTTP proxy that counts requests by kind, and has them fail as a test asks for.
 *
 * Signatures stay valid: what arrives is passed on as it came, `Host` included.
 */
import { once } from 'node:events'
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterwards } from './service.ts'

/** What S3 calls a request; of multipart uploads `create`, `part`, `complete`, `abort`. */
export type Kind =
  | 'put'
  | 'get'
  | 'head'
  | 'list'
  | 'delete'
  | 'delete-many'
  | 'create'
  | 'part'
  | 'complete'
  | 'abort'
  | 'other'

export interface Asked {
  kind: Kind
  /** Path and query as they came. */
  url: string
  /** The number of this request among those of its kind, from 1 on. */
  nth: number
}

export type Fault =
  /** The answer comes so late. */
  | { delayMs: number }
  /** Bytes pass at this rate only, both ways. */
  | { bytesPerSecond: number }
  /** Nothing is passed on and nothing answered for so long; then the line is cut. */
  | { silentMs: number }
  /** It is answered here. */
  | { status: number; code: string }
  /** So many bytes of the request's body pass, then the line is cut. */
  | { cutRequestAfter: number }
  /** So many bytes of the answer's body pass, then the line is cut. */
  | { cutAnswerAfter: number }
  /** The store does it; the answer is lost. */
  | { answerLost: true }

export interface FaultyStore {
  /** Where clients turn to. */
  readonly endpoint: string
  /** Requests that came, by kind, since the start or the last `forget`; kinds that did not come are missing. */
  readonly counts: Readonly<Partial<Record<Kind, number>>>
  forget(): void
  /** What befalls each request from now on; undefined: nothing. */
  fail(fault: (asked: Asked) => Fault | undefined): void
  /** All goes well from now on. */
  mend(): void
  /** Connections are refused, and those that are there are cut, until it resolves what `accept` does. */
  refuse(): Promise<void>
  accept(): Promise<void>
}

function kindOf(method: string, url: string): Kind {
  const { pathname, searchParams } = new URL(url, 'http://store')
  // Path style: `/bucket/key`.
  const isBucket = /^\/[^/]*\/?$/.test(pathname)
  if (searchParams.has('uploads') && method === 'POST') return 'create'
  if (searchParams.has('uploadId')) {
    return ({ PUT: 'part', POST: 'complete', DELETE: 'abort' } as const)[method as 'PUT'] ?? 'other'
  }
  if (searchParams.has('delete')) return 'delete-many'
  if (isBucket) return method === 'GET' && !searchParams.has('lifecycle') ? 'list' : 'other'
  return ({ PUT: 'put', GET: 'get', HEAD: 'head', DELETE: 'delete' } as const)[method as 'PUT'] ?? 'other'
}

/** Passes on `from` into `to`, slowly or so far only. @returns whether it came to its end */
async function pass(from: IncomingMessage, to: NodeJS.WritableStream, fault: Fault, limit: number): Promise<boolean> {
  let passed = 0
  for await (const chunk of from as AsyncIterable<Buffer>) {
    const bytes = chunk.subarray(0, limit - passed)
    passed += bytes.length
    if ('bytesPerSecond' in fault) await sleep((bytes.length / fault.bytesPerSecond) * 1_000)
    if (bytes.length > 0) await new Promise((resolve) => to.write(bytes, resolve))
    if (passed === limit) return false
  }
  return true
}

const NONE = { delayMs: 0 }

async function serve(upstream: URL, req: IncomingMessage, res: ServerResponse, fault: Fault): Promise<void> {
  const { socket } = req
  const cut = () => void socket.destroy()
  if ('silentMs' in fault) {
    await sleep(fault.silentMs)
    return cut()
  }
  if ('status' in fault) {
    const body = `<?xml version="1.0"?><Error><Code>${fault.code}</Code><Message>as the test asked</Message></Error>`
    req.resume()
    await once(req, 'end')
    res.writeHead(fault.status, { 'content-type': 'application/xml' })
    res.end(req.method === 'HEAD' ? undefined : body)
    return
  }
  const { hostname, port } = upstream
  const onward = request({ hostname, port, method: req.method, path: req.url, headers: req.headers, agent: false })
  res.on('close', () => onward.destroy())
  const answered = once(onward, 'response') as Promise<[IncomingMessage]>
  // Swift sends a body after the head of a refused HEAD: too late to matter.
  onward.on('error', () => {})
  answered.catch(() => {})
  const upTo = 'cutRequestAfter' in fault ? fault.cutRequestAfter : Number.POSITIVE_INFINITY
  if (!(await pass(req, onward, fault, upTo))) return cut()
  onward.end()
  const [answer] = await answered
  if ('delayMs' in fault) await sleep(fault.delayMs)
  if ('answerLost' in fault) {
    answer.resume()
    await once(answer, 'end')
    return cut()
  }
  res.writeHead(answer.statusCode as number, answer.rawHeaders)
  const down = 'cutAnswerAfter' in fault ? fault.cutAnswerAfter : Number.POSITIVE_INFINITY
  if (!(await pass(answer, res, fault, down))) return cut()
  res.end()
}

/** @param upstream the address of the store */
export async function faultyStore(upstream: string): Promise<FaultyStore> {
  const counts: Partial<Record<Kind, number>> = {}
  const sockets = new Set<Socket>()
  let faultFor: (asked: Asked) => Fault | undefined = () => undefined
  const server = createServer((req, res) => {
    const url = req.url as string
    const kind = kindOf(req.method as string, url)
    const nth = (counts[kind] ?? 0) + 1
    counts[kind] = nth
    const { socket } = req
    // A client that leaves is no fault of the test.
    serve(new URL(upstream), req, res, faultFor({ kind, url, nth }) ?? NONE).catch(() => socket.destroy())
  })
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  const listen = async (port: number) => {
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
  }
  const refuse = async () => {
    const closed = new Promise((resolve) => server.close(resolve))
    for (const socket of sockets) socket.resetAndDestroy()
    await closed
  }
  await listen(0)
  const { port } = server.address() as AddressInfo
  afterwards(async () => {
    if (server.listening) await refuse()
  })
  return {
    endpoint: `http://127.0.0.1:${port}`,
    counts,
    forget() {
      for (const kind of Object.keys(counts)) delete counts[kind as Kind]
    },
    fail(fault) {
      faultFor = fault
    },
    mend() {
      faultFor = () => undefined
    },
    refuse,
    accept: () => listen(port),
  }
}

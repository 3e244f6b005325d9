/**
 * Answering while the body is still coming.
 *
 * A server that closes a connection with bytes unread resets it, and the reset can overtake the answer: the client sees
 * a broken line where it should see a 409 or a 413. So the answer goes out first, what is on its way is read and
 * dropped for a while, and only then the connection ends or goes on (RFC 9112 §9.6).
 */
import type { IncomingMessage, ServerResponse } from 'node:http'

/** What is worth reading to spare a client a broken connection: a few chunks. */
const MAX_BYTES = 16 * 1024 * 1024
const MAX_MS = 10_000

/** Whether the body ended within the bounds. */
function drained(req: IncomingMessage): Promise<boolean> {
  return new Promise((resolve) => {
    let bytes = 0
    const done = (whole: boolean) => {
      clearTimeout(timer)
      req.off('data', count)
      resolve(whole)
    }
    const count = (chunk: Buffer) => {
      bytes += chunk.length
      if (bytes > MAX_BYTES) done(false)
    }
    const timer = setTimeout(() => done(false), MAX_MS)
    req.once('end', () => done(true))
    req.once('close', () => done(req.complete))
    req.on('error', () => {})
    req.on('data', count)
    req.resume()
  })
}

/** Ends an answer whose head is set, with `text` as its body; resolves when nothing of the request is left to come. */
export async function endAnswer(req: IncomingMessage, res: ServerResponse, text: string): Promise<void> {
  if (req.complete || req.destroyed) {
    res.end(text)
    return
  }
  if (Number(req.headers['content-length'] ?? 0) > MAX_BYTES) res.setHeader('Connection', 'close')
  if (text === '') res.flushHeaders()
  else res.write(text)
  const whole = await drained(req)
  res.end()
  if (!whole) req.socket.destroySoon()
}

const CONTINUED = Symbol('the client was told to send its body')
type Continuable = ServerResponse & { [CONTINUED]?: true }

/** Tells a client that waits for it to send its body (RFC 9110 §10.1.1), once; nothing for one that does not. */
export function letBodyCome(req: IncomingMessage, res: Continuable): void {
  if (res[CONTINUED] || res.headersSent || !/(^|\W)100-continue(\W|$)/i.test(req.headers.expect ?? '')) return
  res[CONTINUED] = true
  res.writeContinue()
}

/** For routes that take what comes: they have nothing to refuse ahead of it. */
export function letBody(req: IncomingMessage, res: ServerResponse, next: () => void): void {
  letBodyCome(req, res)
  next()
}

/**
 * Sees to it that a client that waits to send its body hears 100 ahead of any answer that is no refusal. Java's client
 * takes whatever comes without it for a refusal, a 204 for a body that was not needed too.
 */
export function continueBeforeSuccess(req: IncomingMessage, res: ServerResponse): void {
  const writeHead = res.writeHead
  res.writeHead = ((...head: Parameters<typeof writeHead>) => {
    if (head[0] < 400) letBodyCome(req, res)
    return writeHead.apply(res, head)
  }) as typeof writeHead
}

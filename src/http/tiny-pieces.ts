/**
 * Bodies that come in tiny chunks (RFC 9112 §7.1), put together before anybody looks at them.
 *
 * A body in chunks of one byte makes of one read of the socket ten thousand pieces, each with its event, its promise or
 * its write: seconds of work for a few hundred kilobytes. Clients who mean well send a few such pieces, which pass as
 * they are; of more than those, what one read has brought is handed on as one.
 */
import type { IncomingMessage } from 'node:http'

const TINY_BYTES = 1024
/** Tiny pieces that pass one by one. */
const PASSING = 16
const TOGETHER_BYTES = 16 * 1024

/** To be called before anybody listens to the request. */
export function joinTinyPieces(req: IncomingMessage): void {
  if (req.headers['transfer-encoding'] === undefined) return
  const push = req.push.bind(req)
  let tiny = 0
  let together: Buffer | undefined
  let filled = 0
  let scheduled = false

  function handOn(): void {
    if (!together || filled === 0) return
    // A copy: a reader that keeps a few bytes must not keep the whole buffer alive.
    const bytes = Buffer.from(together.subarray(0, filled))
    filled = 0
    if (!req.destroyed) push(bytes)
  }

  req.push = (piece: Buffer | null): boolean => {
    if (piece === null || piece.length >= TINY_BYTES || tiny < PASSING) {
      if (piece !== null && piece.length < TINY_BYTES) tiny++
      handOn()
      return push(piece)
    }
    if (filled + piece.length > TOGETHER_BYTES) handOn()
    together ??= Buffer.allocUnsafeSlow(TOGETHER_BYTES)
    filled += piece.copy(together, filled)
    if (!scheduled) {
      scheduled = true
      // Behind all that this read of the socket has brought.
      setImmediate(() => {
        scheduled = false
        handOn()
        const wantsMore = req.readableLength < req.readableHighWaterMark
        if (wantsMore && !req.destroyed) req._read(0)
      })
    }
    // Stops the socket, which would be read over and over in one turn as long as it brings as much as a read takes.
    return false
  }
}

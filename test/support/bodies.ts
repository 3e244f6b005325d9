/** Bodies as a staging gets them. */
import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'

/** Pieces as a socket brings them, each in memory of its own. */
export const bodyOf = (bytes: Uint8Array, pieceBytes = 64 * 1024): Readable =>
  Readable.from(pieces(bytes, pieceBytes), { objectMode: false })

function* pieces(bytes: Uint8Array, pieceBytes: number): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    const piece = Buffer.allocUnsafeSlow(Math.min(pieceBytes, bytes.length - at))
    piece.set(bytes.subarray(at, at + piece.length))
    yield piece
  }
}

export const sha256Hex = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

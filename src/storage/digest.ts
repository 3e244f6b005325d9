/** The SHA-256 of bytes that lie somewhere, read in large pieces. */
import { createHash } from 'node:crypto'

const PIECE_BYTES = 1024 * 1024

/**
 * The SHA-256 (hex) of `size` bytes from position 0.
 *
 * @param read gives `length` bytes from `position`, fewer only at the end
 * @throws when fewer bytes are there
 */
export async function sha256Of(
  read: (position: number, length: number) => Promise<Uint8Array>,
  size: number,
): Promise<string> {
  const hash = createHash('sha256')
  for (let position = 0; position < size; ) {
    const piece = await read(position, Math.min(PIECE_BYTES, size - position))
    if (piece.length === 0) throw new Error(`only ${position} of ${size} bytes are there`)
    hash.update(piece)
    position += piece.length
  }
  return hash.digest('hex')
}

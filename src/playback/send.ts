/**
 * The way out: stored bytes into a response, piece by piece, at the listener's pace.
 *
 * Nothing is sent before the first piece is read, so that a store's fault still becomes an answer. The next piece is
 * asked for once the kernel has taken the last, whose memory may be used again then. Knows a response and bytes, no
 * recording.
 */
import type { ServerResponse } from 'node:http'
import type { Bytes } from '../storage/bytes.ts'
import type { ByteRange } from './range.ts'

/** What a body is made of: text of ours, and ranges of the stored bytes. */
export type Segment = string | ByteRange

/**
 * Sends `segments` one after the other and ends the response.
 *
 * Resolves when the kernel has taken all or the listener has left; no caller needs to know which.
 *
 * @param writeHead called once, when the first stored bytes are at hand
 * @throws TruncatedBytes or what reading throws; the response is destroyed if its head was out already
 */
export async function sendSegments(
  res: ServerResponse,
  writeHead: () => void,
  bytes: Bytes,
  segments: readonly Segment[],
): Promise<void> {
  let left = res.closed
  let wake: (() => void) | undefined
  res.once('close', () => {
    left = true
    wake?.()
  })
  /** Resolves when the kernel has it all, or the connection is gone. */
  const flushed = (chunk: Buffer, isLast: boolean): Promise<void> =>
    new Promise((resolve) => {
      wake = resolve
      if (isLast) res.end(chunk)
      else res.write(chunk, () => resolve())
    })

  let headIsOut = false
  let waiting = ''
  try {
    for (const [i, segment] of segments.entries()) {
      if (typeof segment === 'string') {
        waiting += segment
        continue
      }
      const isLast = i === segments.length - 1
      let togo = segment.end - segment.start + 1
      for await (const piece of bytes.range(segment.start, segment.end)) {
        if (left) return
        if (!headIsOut) writeHead()
        headIsOut = true
        if (waiting) res.write(waiting, 'latin1')
        waiting = ''
        togo -= piece.length
        await flushed(piece, togo === 0 && isLast)
        // A connection is closed once the kernel has let go of what it was given.
        if (left) return
      }
    }
    if (waiting) res.end(waiting, 'latin1')
  } catch (error) {
    if (headIsOut) res.destroy()
    throw error
  }
}

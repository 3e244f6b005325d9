/**
 * The way out: bytes of a file into a response, in few large pieces, at the listener's pace.
 *
 * Nothing is sent before the first piece is read, so that a disk's fault still becomes an answer. Buffers are used
 * again, but only once the kernel has taken what was in them. Knows a response and an open file, no recording.
 */
import type { ServerResponse } from 'node:http'
import type { OpenFile } from '../storage/disk/open-files.ts'
import type { ByteRange } from './range.ts'

/** A range up to this size is one read and one write. */
const SMALL_BYTES = 64 * 1024
/** The most that a listener who does not read holds in memory. */
const PIECE_BYTES = 256 * 1024
/** Longer answers go in large pieces while so many do at most; beyond, in small ones: many may be listeners who do not read. */
const MAX_LARGE_TAKEN = 96
/** Buffers that wait for their next use; more are for the system. */
const MAX_SMALL_KEPT = 64
const MAX_LARGE_KEPT = 16

const small: Buffer[] = []
const large: Buffer[] = []
/** Large buffers that answers hold now. */
const taken = { large: 0 }

/**
 * Memory of its own pages, as resizable buffers have it: given back, it is the system's at once. Pieces of the common
 * heap would stay with the process, a hole among what is still in use.
 */
function fresh(bytes: number): Buffer {
  return Buffer.from(new ArrayBuffer(bytes, { maxByteLength: bytes }), 0, bytes)
}

function take(bytes: number): Buffer {
  if (bytes <= SMALL_BYTES || taken.large >= MAX_LARGE_TAKEN) return small.pop() ?? fresh(SMALL_BYTES)
  taken.large += 1
  return large.pop() ?? fresh(PIECE_BYTES)
}

function giveBack(buffer: Buffer): void {
  const isSmall = buffer.length === SMALL_BYTES
  if (!isSmall) taken.large -= 1
  const [kept, most] = isSmall ? [small, MAX_SMALL_KEPT] : [large, MAX_LARGE_KEPT]
  if (kept.length < most) kept.push(buffer)
  // Left to the collector, it would be there for as long as nothing else needs memory.
  else (buffer.buffer as ArrayBuffer).transferToFixedLength(0)
}

/** The file ends before the bytes that its row promises. */
export class TruncatedFile extends Error {
  override name = 'TruncatedFile'
}

/** What a body is made of: text of ours, and bytes of the file. */
export type Segment = string | ByteRange

/**
 * Sends `segments` one after the other and ends the response.
 *
 * Resolves when the kernel has taken all or the listener has left; no caller needs to know which.
 *
 * @param writeHead called once, when the first bytes of the file are at hand
 * @throws TruncatedFile or what reading throws; the response is destroyed if its head was out already
 */
export async function sendSegments(
  res: ServerResponse,
  writeHead: () => void,
  file: OpenFile,
  segments: readonly Segment[],
): Promise<void> {
  const longest = Math.max(...segments.map((s) => (typeof s === 'string' ? 0 : s.end - s.start + 1)))
  const buffer = take(longest)
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
      for (let position = segment.start; position <= segment.end; ) {
        const wanted = Math.min(buffer.length, segment.end - position + 1)
        await fill(file, buffer, wanted, position)
        if (left) return giveBack(buffer)
        if (!headIsOut) writeHead()
        headIsOut = true
        if (waiting) res.write(waiting, 'latin1')
        waiting = ''
        position += wanted
        await flushed(buffer.subarray(0, wanted), position > segment.end && i === segments.length - 1)
        // A connection is closed once the kernel has let go of what it was given.
        if (left) return giveBack(buffer)
      }
    }
    if (waiting) res.end(waiting, 'latin1')
    giveBack(buffer)
  } catch (error) {
    giveBack(buffer)
    if (headIsOut) res.destroy()
    throw error
  }
}

async function fill(file: OpenFile, buffer: Buffer, length: number, position: number): Promise<void> {
  let filled = 0
  while (filled < length) {
    const count = await file.read(filled === 0 ? buffer : buffer.subarray(filled), length - filled, position + filled)
    if (count === 0) throw new TruncatedFile(`the file ends at byte ${position + filled}`)
    filled += count
  }
}

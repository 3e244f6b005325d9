/**
 * Sound that is nothing but frames one after another, each telling its own length: MPEG audio, AAC in ADTS, AMR.
 *
 * Counted frame by frame, over junk too; of more than can be read, evenly spread pieces are counted.
 */
import { JunkBounds, type Pages } from './pages.ts'

export interface FrameKind {
  /** Bytes needed to know a frame's length. */
  headerBytes: number
  maxFrameBytes: number
  /** So many that fit each other, one after another, are no accident. */
  proof: number
  /** Length of the frame at `at` in bytes; 0 if none begins there. */
  lengthAt(bytes: Buffer, at: number): number
  secondsAt(bytes: Buffer, at: number): number
  /** Do two headers belong to one stream? */
  isAlike(bytes: Buffer, a: number, b: number): boolean
  /** The byte that each frame begins with, where it is always the same. */
  syncByte?: number
}

const MAX_COUNTED_BYTES = 48 * 1024 * 1024
const SAMPLES = 48

/**
 * Do frames begin at `at`?
 *
 * @param isWhole whether `bytes` end where the sound ends: then fewer frames will do, if the last fits exactly
 */
export function framesBeginAt(bytes: Buffer, at: number, kind: FrameKind, proof: number, isWhole: boolean): boolean {
  let next = at
  for (let count = 0; count < proof; count++) {
    if (isWhole && count > 0 && next === bytes.length) return true
    if (next + kind.headerBytes > bytes.length) return false
    const length = kind.lengthAt(bytes, next)
    if (length === 0 || !kind.isAlike(bytes, at, next)) return false
    next += length
  }
  return true
}

/** Where frames begin in `bytes`, at `from` or after; -1 if nowhere. */
export function findFrames(bytes: Buffer, from: number, kind: FrameKind, isWhole: boolean): number {
  for (let at = from; at + kind.headerBytes <= bytes.length; at++) {
    if (kind.syncByte !== undefined) {
      at = bytes.indexOf(kind.syncByte, at)
      if (at < 0) return -1
    }
    if (framesBeginAt(bytes, at, kind, kind.proof, isWhole)) return at
  }
  return -1
}

/** Seconds that the frames from `start` to `end` play; `undefined` if there are none. */
export async function secondsOfFrames(
  file: Pages,
  start: number,
  end: number,
  kind: FrameKind,
): Promise<number | undefined> {
  const junk = new JunkBounds()
  if (end - start <= MAX_COUNTED_BYTES) return (await countFrames(file, start, end, kind, junk)) || undefined
  const pieceBytes = MAX_COUNTED_BYTES / SAMPLES
  let seconds = 0
  for (let sample = 0; sample < SAMPLES; sample++) {
    const from = start + Math.floor(((end - start - pieceBytes) * sample) / (SAMPLES - 1))
    seconds += await countFrames(file, from, from + pieceBytes, kind, junk)
  }
  return (seconds * (end - start)) / MAX_COUNTED_BYTES || undefined
}

async function countFrames(
  file: Pages,
  start: number,
  end: number,
  kind: FrameKind,
  junk: JunkBounds,
): Promise<number> {
  const lookahead = kind.proof * kind.maxFrameBytes + kind.headerBytes
  let seconds = 0
  let at = start
  while (at + kind.headerBytes <= end) {
    const page = await file.at(at, lookahead)
    const bytes = page.length > end - at ? page.subarray(0, end - at) : page
    const isLast = at + bytes.length >= end
    let inPage = 0
    while (
      inPage + kind.headerBytes <= bytes.length &&
      (isLast || inPage + lookahead <= bytes.length || inPage === 0)
    ) {
      const length = kind.lengthAt(bytes, inPage)
      if (length > 0 && inPage + length <= bytes.length) {
        seconds += kind.secondsAt(bytes, inPage)
        inPage += length
        junk.end()
        continue
      }
      const tag = id3BytesAt(bytes, inPage)
      if (tag > 0) {
        inPage += tag
        continue
      }
      // A frame that was cut, a tag, a hole: the next frames that prove themselves go on.
      const found = findFrames(bytes, inPage + 1, kind, isLast)
      if (found < 0 && isLast) return seconds
      const behind = found >= 0 ? found : Math.max(inPage + 1, bytes.length - lookahead)
      if (junk.add(behind - inPage)) return seconds
      inPage = behind
    }
    if (inPage === 0) break
    at += inPage
  }
  return seconds
}

/** Bytes of the ID3v2 tag at `at`, as files that were put behind one another have between them; 0 for none. */
export function id3BytesAt(bytes: Buffer, at: number): number {
  if (at + 10 > bytes.length || bytes[at] !== 0x49 || bytes[at + 1] !== 0x44 || bytes[at + 2] !== 0x33) return 0
  if ([6, 7, 8, 9].some((i) => (bytes[at + i] ?? 0x80) > 0x7f)) return 0 // ID3v2.4 §6.2: seven bits of each
  const [a = 0, b = 0, c = 0, d = 0] = bytes.subarray(at + 6, at + 10)
  const footer = (bytes[at + 5] ?? 0) & 0x10 ? 10 : 0
  return 10 + (a << 21) + (b << 14) + (c << 7) + d + footer
}

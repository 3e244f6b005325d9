/** FLAC by itself (RFC 9639). */
import type { Found } from './found.ts'
import type { Pages } from './pages.ts'

const MAX_BLOCKS = 1000
const TAIL_BYTES = 128 * 1024

interface StreamInfo {
  /** As the first frame's size in samples, for all but the last where they are of one size. */
  maxBlock: number
  rate: number
  /** 0: not known when it was written. */
  samples: number
}

export async function inspectFlac(file: Pages, start: number): Promise<Found | undefined> {
  const head = await file.exactly(start, 42)
  if (!head || ((head[4] ?? 0) & 127) !== 0) return undefined
  const info: StreamInfo = {
    maxBlock: head.readUInt16BE(10),
    rate: head.readUInt32BE(18) >>> 12,
    samples: ((head[21] ?? 0) & 15) * 2 ** 32 + head.readUInt32BE(22),
  }
  if (info.rate === 0) return undefined
  const sound = await soundStart(file, start)
  return { contentType: 'audio/flac', codec: 'flac', seconds: (await samplesThere(file, sound, info)) / info.rate }
}

/** Behind the comments, covers and tables. */
async function soundStart(file: Pages, start: number): Promise<number> {
  let at = start + 4
  for (let blocks = 0; blocks < MAX_BLOCKS; blocks++) {
    const block = await file.exactly(at, 4)
    if (!block) return file.size
    at += 4 + block.readUIntBE(1, 3)
    if ((block[0] ?? 0) & 128) break
  }
  return at
}

/** What the header tells, unless the file's last frame ends before; by that one where the header tells nothing. */
async function samplesThere(file: Pages, sound: number, { maxBlock, samples }: StreamInfo): Promise<number> {
  const from = Math.max(sound, file.size - TAIL_BYTES)
  if (from >= file.size) return 0
  const tail = await file.at(from, file.size - from)
  for (let at = tail.lastIndexOf(0xff); at >= 0; at = at === 0 ? -1 : tail.lastIndexOf(0xff, at - 1)) {
    const frame = frameAt(tail, at, maxBlock)
    if (!frame || (samples > 0 && frame.end > samples)) continue
    if (samples === 0) return frame.end
    // What ends before it was to end is cut, and its last frame with it.
    return samples - frame.end < maxBlock ? samples : frame.start
  }
  return samples // all that is here stands behind the sound
}

/** Where the frame at `at` stands in the whole, in samples (§9.1). */
function frameAt(bytes: Buffer, at: number, maxBlock: number): { start: number; end: number } | undefined {
  const [, sync = 0, sizes = 0, channels = 0] = bytes.subarray(at, at + 4)
  if ((sync & 0xfe) !== 0xf8 || sizes >> 4 === 0 || (sizes & 15) === 15 || (channels & 1) !== 0) return undefined
  const number = codedNumber(bytes, at + 4)
  if (!number) return undefined
  let next = at + 4 + number.length
  if (next + 5 > bytes.length) return undefined
  const size = sizes >> 4
  let block = size === 1 ? 192 : size <= 5 ? 144 * 2 ** size : 2 ** size
  if (size === 6) block = (bytes[next++] ?? 0) + 1
  if (size === 7) {
    block = bytes.readUInt16BE(next) + 1
    next += 2
  }
  next += [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 2][sizes & 15] ?? 0
  if (block > maxBlock || crc8(bytes.subarray(at, next)) !== bytes[next]) return undefined
  const isFixed = (sync & 1) === 0
  const first = isFixed ? number.value * maxBlock : number.value
  return { start: first, end: first + block }
}

/** UTF-8's scheme, up to seven bytes. */
function codedNumber(bytes: Buffer, at: number): { value: number; length: number } | undefined {
  const first = bytes[at] ?? 0xff
  if (first < 0x80) return { value: first, length: 1 }
  const length = Math.clz32(~(first << 24))
  if (length < 2 || length > 7) return undefined
  let value = first & (0x7f >> length)
  for (let i = 1; i < length; i++) {
    const byte = bytes[at + i] ?? 0
    if ((byte & 0xc0) !== 0x80) return undefined
    value = value * 64 + (byte & 63)
  }
  return { value, length }
}

function crc8(bytes: Buffer): number {
  let crc = 0
  for (const byte of bytes) {
    crc ^= byte
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x80 ? ((crc << 1) ^ 0x07) & 0xff : crc << 1
  }
  return crc
}

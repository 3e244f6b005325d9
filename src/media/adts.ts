/** AAC in ADTS frames (ISO/IEC 14496-3 §1.A.3.2). */
import type { Found } from './found.ts'
import { type FrameKind, secondsOfFrames } from './frames.ts'
import type { Pages } from './pages.ts'

/** Indices 13 to 15 are reserved. */
const RATES = [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8000, 7350]

const rateAt = (bytes: Buffer, at: number): number => RATES[((bytes[at + 2] ?? 0) >> 2) & 15] ?? 0

export const ADTS: FrameKind = {
  headerBytes: 7,
  maxFrameBytes: 8191,
  proof: 3,
  syncByte: 0xff,
  lengthAt(bytes, at) {
    if (bytes[at] !== 0xff || ((bytes[at + 1] ?? 0) & 0xf6) !== 0xf0 || rateAt(bytes, at) === 0) return 0
    const length = (((bytes[at + 3] ?? 0) & 3) << 11) | ((bytes[at + 4] ?? 0) << 3) | ((bytes[at + 5] ?? 0) >> 5)
    return length < 7 ? 0 : length
  },
  secondsAt: (bytes, at) => (1024 * (1 + ((bytes[at + 6] ?? 0) & 3))) / rateAt(bytes, at),
  isAlike: (bytes, a, b) => ((bytes[a + 2] ?? 0) & 0xfc) === ((bytes[b + 2] ?? 0) & 0xfc),
}

export const inspectAdts = async (file: Pages, start: number): Promise<Found> => ({
  contentType: 'audio/aac',
  codec: 'aac',
  seconds: await secondsOfFrames(file, start, file.size, ADTS),
})

/** MPEG audio, layers I to III: MP3 and MP2 (ISO/IEC 11172-3 §2.4, 13818-3). */
import type { Found } from './found.ts'
import { type FrameKind, secondsOfFrames } from './frames.ts'
import { type Pages, textAt } from './pages.ts'

const KBITS = {
  v1: {
    1: [0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448, 0],
    2: [0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 0],
    3: [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0],
  },
  v2: {
    1: [0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256, 0],
    2: [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0],
    3: [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0],
  },
} as const
const RATES_V1 = [44_100, 48_000, 32_000, 0]

const isVersion1 = (bytes: Buffer, at: number) => ((bytes[at + 1] ?? 0) & 0x18) === 0x18
/** 1 to 3; 4 is reserved. */
const layerAt = (bytes: Buffer, at: number) => 4 - (((bytes[at + 1] ?? 0) >> 1) & 3)

function rateAt(bytes: Buffer, at: number): number {
  const version = ((bytes[at + 1] ?? 0) >> 3) & 3
  const rate = RATES_V1[((bytes[at + 2] ?? 0) >> 2) & 3] ?? 0
  if (version === 1) return 0 // reserved
  return version === 3 ? rate : version === 2 ? rate / 2 : rate / 4
}

function samplesAt(bytes: Buffer, at: number): number {
  const layer = layerAt(bytes, at)
  if (layer === 1) return 384
  return layer === 3 && !isVersion1(bytes, at) ? 576 : 1152
}

export const MPEG_AUDIO: FrameKind = {
  headerBytes: 4,
  maxFrameBytes: 2881,
  proof: 3,
  syncByte: 0xff,
  lengthAt(bytes, at) {
    if (bytes[at] !== 0xff || ((bytes[at + 1] ?? 0) & 0xe0) !== 0xe0) return 0
    const rate = rateAt(bytes, at)
    const layer = layerAt(bytes, at)
    if (rate === 0 || (layer !== 1 && layer !== 2 && layer !== 3)) return 0
    const kbits = KBITS[isVersion1(bytes, at) ? 'v1' : 'v2'][layer][(bytes[at + 2] ?? 0) >> 4] ?? 0
    const padding = ((bytes[at + 2] ?? 0) >> 1) & 1
    if (kbits === 0) return 0 // free format: no recorder writes it
    if (layer === 1) return (Math.floor((12_000 * kbits) / rate) + padding) * 4
    return Math.floor((samplesAt(bytes, at) * 125 * kbits) / rate) + padding
  },
  secondsAt: (bytes, at) => samplesAt(bytes, at) / rateAt(bytes, at),
  isAlike: (bytes, a, b) =>
    ((bytes[a + 1] ?? 0) & 0xfe) === ((bytes[b + 1] ?? 0) & 0xfe) &&
    ((bytes[a + 2] ?? 0) & 0x0c) === ((bytes[b + 2] ?? 0) & 0x0c),
}

/** By a frame's header. */
export const mpegCodec = (header: Buffer): string => (layerAt(header, 0) === 3 ? 'mp3' : 'mp2')

/** @param start where the first frame begins */
export async function inspectMpegAudio(file: Pages, start: number): Promise<Found> {
  const first = await file.at(start, 200)
  return {
    contentType: 'audio/mpeg',
    codec: mpegCodec(first),
    seconds: secondsTold(first, file.size - start) ?? (await secondsOfFrames(file, start, file.size, MPEG_AUDIO)),
  }
}

/** As far as the part told of may differ from the file: tags stand behind it, and a cut end is within what is true. */
const TOLERANCE = 0.01

/** What a first frame without sound tells of the others, if it tells of this file as it is here. */
function secondsTold(first: Buffer, bytesThere: number): number | undefined {
  const isMono = (first[3] ?? 0) >> 6 === 3
  const xingAt = 4 + (isVersion1(first, 0) ? (isMono ? 17 : 32) : isMono ? 9 : 17)
  let [frames, bytes] = [0, 0]
  if (['Xing', 'Info'].includes(textAt(first, xingAt, 4)) && first.length >= xingAt + 16) {
    if ((first.readUInt32BE(xingAt + 4) & 3) !== 3) return undefined
    frames = first.readUInt32BE(xingAt + 8)
    bytes = first.readUInt32BE(xingAt + 12)
  } else if (textAt(first, 36, 4) === 'VBRI' && first.length >= 54) {
    bytes = first.readUInt32BE(46)
    frames = first.readUInt32BE(50)
  }
  const isPlausible = frames > 0 && bytes / frames >= 24 && bytes / frames <= MPEG_AUDIO.maxFrameBytes
  if (!isPlausible || Math.abs(bytes - bytesThere) > Math.max(bytesThere * TOLERANCE, 256)) return undefined
  return frames * MPEG_AUDIO.secondsAt(first, 0)
}

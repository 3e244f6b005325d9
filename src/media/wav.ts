/** WAVE: RIFF, and its forms for more than 4 GiB, RF64 and BW64 (EBU Tech 3306, ITU-R BS.2088). */
import type { Found } from './found.ts'
import { secondsOfFrames } from './frames.ts'
import { MPEG_AUDIO } from './mpeg-audio.ts'
import { type Pages, textAt } from './pages.ts'

const MAX_CHUNKS = 10_000
/** The length of what is still being written, or stands in `ds64`. */
const UNKNOWN = 0xffffffff

interface Format {
  tag: number
  channels: number
  rate: number
  bytesPerSecond: number
  /** Bytes that can't be played in part: one sample of every channel, or one block of a codec. */
  blockBytes: number
  bits: number
  /** ADPCM alone says it. */
  samplesPerBlock: number
}

interface Chunks {
  format?: Format
  /** Samples of a channel, by the chunk `fact`. */
  fact: number
  data?: { start: number; end: number }
  /** Every chunk begins at an even place, as players expect. */
  isPadded: boolean
}

export async function inspectWav(file: Pages, start: number): Promise<Found | undefined> {
  const { format, fact, data, isPadded } = await readChunks(file, start)
  if (!format || !data) return undefined
  return {
    contentType: 'audio/wav',
    codec: isPadded ? codecOf(format) : 'other',
    seconds: await secondsOf(file, format, fact, data.start, data.end),
  }
}

async function readChunks(file: Pages, start: number): Promise<Chunks> {
  const chunks: Chunks = { fact: 0, isPadded: true }
  let longDataBytes = 0
  let at = start + 12
  for (let count = 0; count < MAX_CHUNKS && !(chunks.format && chunks.data); count++) {
    const head = await file.exactly(at, 8)
    if (!head) break
    const id = textAt(head, 0, 4)
    const told = head.readUInt32LE(4)
    const body = at + 8
    if (id === 'data') {
      const bytes = told === UNKNOWN && longDataBytes > 0 ? longDataBytes : told
      chunks.data = { start: body, end: bytes === 0 ? file.size : Math.min(body + bytes, file.size) }
    } else if (id === 'fmt ') {
      chunks.format = formatOf(await file.at(body, Math.min(told, 40)), told)
    } else if (id === 'fact' && told >= 4) {
      chunks.fact = (await file.exactly(body, 4))?.readUInt32LE() ?? 0
    } else if (id === 'ds64' && told >= 16) {
      longDataBytes = Number((await file.exactly(body + 8, 8))?.readBigUInt64LE() ?? 0n)
    }
    at = await nextChunk(file, start, body + told)
    chunks.isPadded &&= (at - start) % 2 === 0
  }
  return chunks
}

/** Chunks begin at even places, but for writers that forget it. */
async function nextChunk(file: Pages, start: number, end: number): Promise<number> {
  if ((end - start) % 2 === 0) return end
  const bytes = await file.at(end, 5)
  return bytes[0] !== 0 && /^[A-Za-z][\w ]{3}/.test(textAt(bytes, 0, 4)) && !isId(textAt(bytes, 1, 4)) ? end : end + 1
}

const isId = (text: string) => ['data', 'fmt ', 'fact', 'LIST'].includes(text)

const EXTENSIBLE = 0xfffe

function formatOf(bytes: Buffer, told: number): Format | undefined {
  if (told < 14 || bytes.length < 16) return undefined
  const tag = bytes.readUInt16LE(0)
  const isExtended = told >= 20 && bytes.length >= 20
  return {
    tag: tag === EXTENSIBLE && told >= 26 && bytes.length >= 26 ? bytes.readUInt16LE(24) : tag,
    channels: bytes.readUInt16LE(2),
    rate: bytes.readUInt32LE(4),
    bytesPerSecond: bytes.readUInt32LE(8),
    blockBytes: bytes.readUInt16LE(12),
    bits: told >= 16 ? bytes.readUInt16LE(14) : 0,
    samplesPerBlock: isExtended && tag !== EXTENSIBLE ? bytes.readUInt16LE(18) : 0,
  }
}

const CODECS: Readonly<Record<number, string>> = {
  1: 'pcm',
  2: 'adpcm',
  3: 'pcm', // float
  6: 'alaw',
  7: 'mulaw',
  17: 'adpcm',
  49: 'gsm',
  80: 'mp2',
  85: 'mp3',
}

const codecOf = ({ tag, bits }: Format): string => (wavCodec(tag) === 'pcm' ? pcmCodec(bits) : wavCodec(tag))

/** No browser plays samples of double precision. */
export const pcmCodec = (bits: number): string => (bits > 32 ? 'other' : 'pcm')

/** By the format tag (RFC 2361). */
export const wavCodec = (tag: number): string => CODECS[tag] ?? 'other'

async function secondsOf(
  file: Pages,
  format: Format,
  fact: number,
  start: number,
  end: number,
): Promise<number | undefined> {
  const { tag, channels, rate, bits, blockBytes, bytesPerSecond, samplesPerBlock } = format
  const bytes = end - start
  const codec = wavCodec(tag)
  if (codec === 'mp3' || codec === 'mp2') return secondsOfFrames(file, start, end, MPEG_AUDIO)
  if (rate === 0) return undefined
  if (codec === 'pcm' || codec === 'alaw' || codec === 'mulaw') {
    const sampleBytes = Math.max(blockBytes, channels * Math.ceil(bits / 8))
    return channels === 0 || sampleBytes === 0 ? undefined : bytes / sampleBytes / rate
  }
  const perBlock = codec === 'gsm' ? samplesPerBlock || 320 : codec === 'adpcm' ? samplesPerBlock : 0
  if (perBlock > 0 && blockBytes > 0) {
    const samples = Math.ceil(bytes / blockBytes) * perBlock
    return (fact <= samples && fact > samples - perBlock ? fact : samples) / rate
  }
  // Other codecs: what the header says of their speed, unless the count of samples contradicts it.
  const bySpeed = bytesPerSecond > 0 ? bytes / bytesPerSecond : undefined
  if (bySpeed === undefined || fact === 0) return bySpeed
  return Math.abs(fact / rate - bySpeed) < 0.02 * bySpeed ? fact / rate : undefined
}

const PLAIN_HEAD_BYTES = 44

/**
 * What a WAVE file is that begins as nearly every recorder's does: RIFF, `fmt ` of plain PCM, `data`; `undefined` for all
 * others. A few comparisons, whatever the bytes are.
 */
export function plainWav(head: Buffer, size: number): Found | undefined {
  if (head.length < PLAIN_HEAD_BYTES || !isWav(head)) return undefined
  const isPlain =
    textAt(head, 0, 4) === 'RIFF' &&
    textAt(head, 12, 4) === 'fmt ' &&
    head.readUInt32LE(16) === 16 &&
    head.readUInt16LE(20) === 1 &&
    textAt(head, 36, 4) === 'data'
  const [channels, rate, blockBytes] = [head.readUInt16LE(22), head.readUInt32LE(24), head.readUInt16LE(32)]
  if (!isPlain || channels === 0 || rate === 0 || blockBytes !== channels * Math.ceil(head.readUInt16LE(34) / 8)) {
    return undefined
  }
  // A recorder that sends as it records knows no length ahead, and writes 0 or all ones.
  const told = head.readUInt32LE(40)
  const there = size - PLAIN_HEAD_BYTES
  return {
    contentType: 'audio/wav',
    codec: 'pcm',
    seconds: (told === 0 ? there : Math.min(told, there)) / blockBytes / rate,
  }
}

export const isWav = (head: Buffer): boolean =>
  ['RIFF', 'RF64', 'BW64'].includes(textAt(head, 0, 4)) && textAt(head, 8, 4) === 'WAVE'

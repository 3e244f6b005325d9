/**
 * What recorded bytes are: their media type, and how long they play.
 *
 * The type goes by the bytes, and by the file name's extension only where the bytes say nothing. Pure: whoever calls
 * passes a function that reads. Made for files from strangers: whatever they hold, memory, reads and steps are bounded,
 * and a file that makes no sense is `unrecognised`, never an error.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'
import { fileTypeFromBuffer } from 'file-type'
import { type IAudioMetadata, parseFromTokenizer } from 'music-metadata'
import { AbstractTokenizer, EndOfStreamError, type IRandomAccessFileInfo, type IReadChunkOptions } from 'strtok3'
import { typeByFirstBytes } from './first-bytes.ts'

/** Extensions that are taken in and served, each with the type it stands for. */
const TYPE_BY_EXTENSION: Readonly<Record<string, string>> = {
  aac: 'audio/aac',
  mp3: 'audio/mpeg',
  m4a: 'audio/mp4',
  wav: 'audio/wav',
  ogg: 'audio/ogg',
  oga: 'audio/ogg',
  opus: 'audio/ogg', // RFC 7845 §9
  amr: 'audio/amr',
  '3gp': 'audio/3gpp',
  webm: 'audio/webm',
  flac: 'audio/flac',
}

const extensionOf = (filename: string): string => /\.([^./\\]+)$/.exec(filename)?.[1]?.toLowerCase() ?? ''

/** The type that a file name's extension, in any case, stands for; `undefined` for one that is not served. */
export const mediaTypeOfExtension = (filename: string): string | undefined => {
  const extension = extensionOf(filename)
  return Object.hasOwn(TYPE_BY_EXTENSION, extension) ? TYPE_BY_EXTENSION[extension] : undefined
}

/** Each with its dot. */
export const servedExtensions = (): string[] => Object.keys(TYPE_BY_EXTENSION).map((extension) => `.${extension}`)

export const isServedExtension = (filename: string): boolean => mediaTypeOfExtension(filename) !== undefined

/** Reads `length` bytes from `position`; fewer only where the file ends. */
export type ReadBytes = (position: number, length: number) => Promise<Uint8Array>

export interface Inspection {
  contentType: string
  /** Null where it can't be told, or only by more work than a recording is worth. */
  durationSeconds: number | null
  /** `ok`: the bytes are audio (or video) of a kind known here. */
  mediaCheck: 'ok' | 'unrecognised'
}

/** As much as file-type ever looks at of audio. */
export const HEAD_BYTES = 4100
/** What music-metadata may do with one file: reads beyond the cached page, library calls, bytes in one piece. */
const MAX_PARSE_BYTES = 64 * 1024 * 1024
const MAX_PARSE_STEPS = 500_000
const MAX_PIECE_BYTES = 8 * 1024 * 1024
const PAGE_BYTES = 64 * 1024
const STEPS_PER_TURN = 2000
/** Taggers that do not know each other leave two; more is no tagger's work. */
const MAX_TAGS_AHEAD = 16
const TAG_HEAD_BYTES = 10
/** Raw streams have no header that tells their length; up to here frames are counted, the rest is taken to be alike. */
const MAX_COUNTED_BYTES = 64 * 1024 * 1024
const COUNT_PIECE_BYTES = 256 * 1024

/** Containers that hold sound, pictures or both: sniffers call all of them video, whatever is inside. */
const CONTAINERS: Readonly<Record<string, string>> = {
  'video/webm': 'webm',
  'video/matroska': 'matroska',
  'video/x-matroska': 'matroska',
  'audio/mp4': 'mp4',
  'audio/x-m4a': 'mp4',
  'video/mp4': 'mp4',
  'video/x-m4v': 'mp4',
  'video/quicktime': 'mp4',
  'video/3gpp': '3gpp',
  'video/3gpp2': '3gpp2',
}

/** The media type that the first bytes of a file show, without parameters; `undefined` if none that can hold audio. */
export async function sniff(head: Uint8Array): Promise<string | undefined> {
  let mime: string | undefined
  try {
    mime = (await fileTypeFromBuffer(head))?.mime
  } catch {
    return undefined // it is made not to throw; a hostile head must not prove otherwise
  }
  const type = mime?.split(';')[0]?.trim()
  return type && (type.startsWith('audio/') || Object.hasOwn(CONTAINERS, type)) ? type : undefined
}

/**
 * Finds out type and duration of a file of `size` bytes.
 *
 * Bytes that are no media at all cost one read of 4 KiB. Content never makes it throw.
 *
 * @throws what `read` throws
 */
export async function inspectMedia(read: ReadBytes, size: number, filename: string): Promise<Inspection> {
  const head = await read(0, Math.min(HEAD_BYTES, size))
  const tagBytes = startsWith(head, 'ID3') ? await tagsAhead(read, size) : 0
  if (tagBytes === 0) return inspectUntagged(read, head, size, filename)
  const behind = (position: number, length: number) => read(tagBytes + position, length)
  return inspectUntagged(behind, await behind(0, Math.min(HEAD_BYTES, size - tagBytes)), size - tagBytes, filename)
}

/** ID3v2 tags ahead of everything else are left out unread: they tell neither type nor duration, and may hold anything. */
async function tagsAhead(read: ReadBytes, size: number): Promise<number> {
  let bytes = 0
  for (let tags = 0; tags < MAX_TAGS_AHEAD && bytes + TAG_HEAD_BYTES <= size; tags++) {
    const head = await read(bytes, TAG_HEAD_BYTES)
    if (!startsWith(head, 'ID3')) break
    // ID3v2.4 §3.1: seven bits of each octet; §3.4: a footer is not counted.
    const length = head.subarray(6, 10).reduce((sum, octet) => sum * 128 + (octet & 127), 0)
    const footer = ((head[5] ?? 0) & 0x10) === 0 ? 0 : TAG_HEAD_BYTES
    if (bytes + TAG_HEAD_BYTES + length + footer > size) break
    bytes += TAG_HEAD_BYTES + length + footer
  }
  return bytes
}

async function inspectUntagged(read: ReadBytes, head: Uint8Array, size: number, filename: string): Promise<Inspection> {
  const wave = inspectPlainWav(head, size)
  if (wave) return wave
  const unrecognised: Inspection = {
    contentType: mediaTypeOfExtension(filename) ?? 'application/octet-stream',
    durationSeconds: null,
    mediaCheck: 'unrecognised',
  }
  const type = await sniff(head)
  if (type === undefined) return unrecognised

  const raw = RAW_STREAMS.find((stream) => stream.type === type && stream.isHead(head))
  if (raw) {
    const durationSeconds = await countFrames(read, size, raw.framesOf(head))
    return durationSeconds === undefined ? unrecognised : { contentType: type, durationSeconds, mediaCheck: 'ok' }
  }

  if (type === 'audio/flac') return { contentType: type, durationSeconds: flacSeconds(head), mediaCheck: 'ok' }

  const container = Object.hasOwn(CONTAINERS, type) ? CONTAINERS[type] : undefined
  const { format, exhausted } = await parseFormat(
    read,
    head,
    size,
    container === '3gpp' || container === '3gpp2' ? 'audio/mp4' : type,
  )
  const durationSeconds = plausibleSeconds(format?.duration)
  if (container === undefined) {
    // Two bytes make MPEG audio for a sniffer; frames have to follow.
    if (type === 'audio/mpeg' && durationSeconds === null && !exhausted) return unrecognised
    return { contentType: type, durationSeconds, mediaCheck: 'ok' }
  }

  const contentType = `${format?.hasVideo ? 'video' : 'audio'}/${container}`
  // A container whose index never came (a recorder that died) holds nothing that a player could find.
  const mediaCheck = exhausted || format?.hasAudio || format?.hasVideo ? 'ok' : 'unrecognised'
  return { contentType, durationSeconds, mediaCheck }
}

/** What the first bytes show and nothing else, for a file that nobody could look into: a few steps, whatever they are. */
export function inspectHead(head: Uint8Array, filename: string): Inspection {
  const type = typeByFirstBytes(head)
  return {
    contentType: type ?? mediaTypeOfExtension(filename) ?? 'application/octet-stream',
    durationSeconds: null,
    mediaCheck: type === undefined ? 'unrecognised' : 'ok',
  }
}

/** To the millisecond; null for what rounds to nothing, or is no number of seconds. */
const plausibleSeconds = (seconds: number | undefined): number | null => {
  const rounded = Math.round((seconds ?? 0) * 1000) / 1000
  return Number.isFinite(rounded) && rounded > 0 ? rounded : null
}

/**
 * A WAVE file that begins as nearly every recorder's does: RIFF, `fmt ` of plain PCM, `data`; `undefined` for all others.
 * A few comparisons, whatever the bytes are: it may be asked anywhere.
 */
export function inspectPlainWav(head: Uint8Array, size: number): Inspection | undefined {
  if (head.length < WAVE_HEAD_BYTES) return undefined
  const view = new DataView(head.buffer, head.byteOffset, WAVE_HEAD_BYTES)
  const isPlain =
    view.getUint32(0) === fourCc('RIFF') &&
    view.getUint32(8) === fourCc('WAVE') &&
    view.getUint32(12) === fourCc('fmt ') &&
    view.getUint32(16, true) === 16 &&
    view.getUint16(20, true) === 1 &&
    view.getUint32(36) === fourCc('data')
  const [samplesPerSecond, bytesPerSample] = [view.getUint32(24, true), view.getUint16(32, true)]
  if (!isPlain || samplesPerSecond === 0 || bytesPerSample === 0) return undefined
  // A recorder that sends as it records knows no length ahead, and writes 0 or all ones.
  const told = view.getUint32(40, true)
  const there = size - WAVE_HEAD_BYTES
  const seconds = (told === 0 ? there : Math.min(told, there)) / bytesPerSample / samplesPerSecond
  return { contentType: 'audio/wav', durationSeconds: plausibleSeconds(seconds), mediaCheck: 'ok' }
}

/**
 * FLAC tells all that is asked in its first block (RFC 9639 §8.2). music-metadata goes on to the comments, and makes room
 * for as many as a file says that it has: a gigabyte, for a file of a hundred bytes.
 */
function flacSeconds(head: Uint8Array): number | null {
  if (head.length < 26 || ((head[4] ?? 0) & 127) !== 0) return null
  const view = new DataView(head.buffer, head.byteOffset, 26)
  const samplesPerSecond = view.getUint32(18) >>> 12
  const samples = (view.getUint8(21) & 15) * 2 ** 32 + view.getUint32(22)
  return plausibleSeconds(samples / samplesPerSecond)
}

const WAVE_HEAD_BYTES = 44
const fourCc = (text: string): number => Buffer.from(text, 'latin1').readUInt32BE()

interface Parsed {
  format?: IAudioMetadata['format']
  /** A bound was reached before the file's end. */
  exhausted: boolean
}

/** What music-metadata makes of the file; no format if it gives up or reaches a bound. */
async function parseFormat(read: ReadBytes, head: Uint8Array, size: number, mimeType: string): Promise<Parsed> {
  const tokenizer = new BoundedTokenizer(read, head, { size, mimeType })
  try {
    const { format } = await parseFromTokenizer(tokenizer, {
      duration: true,
      skipCovers: true,
      observer: ({ metadata }) => leaveTagsOut(metadata),
    })
    // Some parsers take a failed read for the file's end.
    if (tokenizer.readFault !== undefined) throw tokenizer.readFault.cause
    return tokenizer.exhausted ? { exhausted: true } : { format, exhausted: false }
  } catch (error) {
    if (tokenizer.readFault !== undefined) throw tokenizer.readFault.cause
    if (!(error instanceof Error)) throw error
    return { exhausted: tokenizer.exhausted }
  }
}

/**
 * From what it tells first, the container's name, the library is kept from collecting tags: it compares each with all the
 * others.
 */
const leaveTagsOut = (collector: object) => Object.assign(collector, { addTag: async () => {}, addWarning: () => {} })

/** Reads by pages, and stops a parser that asks for too much. */
class BoundedTokenizer extends AbstractTokenizer {
  readonly fileInfo: IRandomAccessFileInfo
  /** The reader's own failure, which is no property of the file. */
  readFault: { cause: unknown } | undefined
  /** A bound was reached; what was found so far may be half the truth. */
  exhausted = false
  readonly #read: ReadBytes
  #page: Uint8Array
  #pageAt = 0
  #bytes = 0
  #steps = 0

  /** @param head the file's beginning, which needs no reading any more */
  constructor(read: ReadBytes, head: Uint8Array, fileInfo: IRandomAccessFileInfo) {
    super({ maxBufferSize: MAX_PIECE_BYTES })
    this.#read = read
    this.#page = head
    this.fileInfo = fileInfo
  }

  /**
   * Not before the first read: asked ahead of it, the library would look for tags at the file's end, which are of no use
   * here. Many files need no read beyond their head, and that is a tenth of the cost of a small upload.
   */
  override supportsRandomAccess(): boolean {
    return this.#steps > 0
  }

  setPosition(position: number): void {
    this.position = position
  }

  override async ignore(length: number): Promise<number> {
    await this.#step(0)
    return super.ignore(length)
  }

  override async readBuffer(target: Uint8Array, options?: IReadChunkOptions): Promise<number> {
    const { length, position, mayBeLess = false } = this.normalizeOptions(target, options)
    const count = await this.#fill(target, position, length, mayBeLess)
    this.position = position + count
    return count
  }

  override async peekBuffer(target: Uint8Array, options?: IReadChunkOptions): Promise<number> {
    const { length, position, mayBeLess = false } = this.normalizeOptions(target, options)
    return this.#fill(target, position, length, mayBeLess)
  }

  async #fill(target: Uint8Array, position: number, length: number, mayBeLess: boolean): Promise<number> {
    await this.#step(length)
    let filled = 0
    while (filled < length) {
      const at = position + filled
      const inPage = at - this.#pageAt
      if (inPage < 0 || inPage >= this.#page.length) {
        const wanted = Math.min(Math.max(PAGE_BYTES, length - filled), this.fileInfo.size - at)
        if (wanted <= 0) break
        this.#page = await this.#fetch(at, wanted)
        this.#pageAt = at
        if (this.#page.length === 0) break
        continue
      }
      const part = this.#page.subarray(inPage, inPage + length - filled)
      target.set(part, filled)
      filled += part.length
    }
    if (filled < length && !mayBeLess) throw new EndOfStreamError()
    return filled
  }

  async #fetch(position: number, length: number): Promise<Uint8Array> {
    this.#bytes += length
    if (this.#bytes > MAX_PARSE_BYTES) this.#exhaust()
    try {
      return await this.#read(position, length)
    } catch (cause) {
      this.readFault = { cause }
      throw cause
    }
  }

  async #step(length: number): Promise<void> {
    this.#steps++
    if (this.exhausted || this.#steps > MAX_PARSE_STEPS || length > MAX_PIECE_BYTES) this.#exhaust()
    // Steps inside one page never leave the microtask queue; other requests must have their turn.
    if (this.#steps % STEPS_PER_TURN === 0) await nextTurn()
  }

  #exhaust(): never {
    this.exhausted = true
    throw new Error('the file asks for more work than it is worth')
  }
}

/** Frames that follow one another from `start`, each telling its own length. */
interface Frames {
  start: number
  /** Bytes needed to know a frame's length. */
  headerBytes: number
  secondsPerFrame: number
  /** Length of the frame at `at` in bytes; 0 if none begins there. */
  lengthAt(bytes: Uint8Array, at: number): number
}

interface RawStream {
  type: string
  isHead(head: Uint8Array): boolean
  framesOf(head: Uint8Array): Frames
}

/** ISO/IEC 14496-3 §1.A.3.2; indices 13–15 are reserved. */
const ADTS_SAMPLE_RATES = [
  96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8000, 7350,
]
const adtsSampleRate = (head: Uint8Array): number => ADTS_SAMPLE_RATES[((head[2] ?? 0) >> 2) & 15] ?? 0

/** Bytes of a speech frame by its type, header included: RFC 4867 §5.3 with 3GPP TS 26.101 and 26.201. */
const AMR_NB_FRAME_BYTES = [13, 14, 16, 18, 20, 21, 27, 32, 6, 0, 0, 0, 0, 0, 0, 1]
const AMR_WB_FRAME_BYTES = [18, 24, 33, 37, 41, 47, 51, 59, 61, 6, 0, 0, 0, 0, 1, 1]
const AMR_NB_MAGIC = '#!AMR\n'
const AMR_WB_MAGIC = '#!AMR-WB\n'
const startsWith = (head: Uint8Array, magic: string) =>
  Buffer.from(head.buffer, head.byteOffset, head.length).toString('latin1', 0, magic.length) === magic

const amr = (magic: string, frameBytes: readonly number[]): RawStream => ({
  type: 'audio/amr',
  isHead: (head) => startsWith(head, magic),
  framesOf: () => ({
    start: magic.length,
    headerBytes: 1,
    secondsPerFrame: 0.02,
    // A frame type octet has its padding bits clear.
    lengthAt: (bytes, at) => (((bytes[at] ?? 0xff) & 0x83) === 0 ? (frameBytes[((bytes[at] ?? 0) >> 3) & 15] ?? 0) : 0),
  }),
})

const RAW_STREAMS: readonly RawStream[] = [
  {
    type: 'audio/aac',
    isHead: (head) => head[0] === 0xff && ((head[1] ?? 0) & 0xf6) === 0xf0 && adtsSampleRate(head) > 0,
    framesOf: (head) => ({
      start: 0,
      headerBytes: 7,
      secondsPerFrame: 1024 / adtsSampleRate(head),
      lengthAt: (bytes, at) => {
        if (bytes[at] !== 0xff || ((bytes[at + 1] ?? 0) & 0xf6) !== 0xf0) return 0
        const length = (((bytes[at + 3] ?? 0) & 3) << 11) | ((bytes[at + 4] ?? 0) << 3) | ((bytes[at + 5] ?? 0) >> 5)
        return length < 7 ? 0 : length
      },
    }),
  },
  amr(AMR_NB_MAGIC, AMR_NB_FRAME_BYTES),
  amr(AMR_WB_MAGIC, AMR_WB_FRAME_BYTES),
]

/**
 * Duration in seconds of a stream that is nothing but frames; exact to one frame up to `MAX_COUNTED_BYTES`, beyond
 * that by the average frame. `undefined` if no two frames follow each other: then it only looked like such a stream.
 */
async function countFrames(read: ReadBytes, size: number, frames: Frames): Promise<number | undefined> {
  const end = Math.min(size, MAX_COUNTED_BYTES)
  let count = 0
  let at = frames.start
  let broken = false
  while (!broken && at + frames.headerBytes <= end) {
    const piece = await read(at, Math.min(COUNT_PIECE_BYTES, size - at))
    let inPiece = 0
    while (inPiece + frames.headerBytes <= piece.length && at + inPiece < end) {
      const length = frames.lengthAt(piece, inPiece)
      if (length === 0) {
        broken = true
        break
      }
      count++
      inPiece += length
    }
    if (inPiece === 0) break
    at += inPiece
  }
  if (count < 2 && at < size) return undefined
  const bytesPerFrame = (at - frames.start) / count
  const total = !broken && end < size ? (size - frames.start) / bytesPerFrame : count
  return plausibleSeconds(total * frames.secondsPerFrame) ?? undefined
}

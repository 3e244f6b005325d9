/** Ogg (RFC 3533) with Opus, Vorbis, FLAC or Speex; several streams at once, or one behind the other (a chain). */
import type { Found } from './found.ts'
import { type Pages, textAt } from './pages.ts'

const PAGE_HEAD_BYTES = 27
const MAX_PAGE_BYTES = PAGE_HEAD_BYTES + 255 + 255 * 255
const FIRST_PAGE = 2
const MAX_STREAMS = 1000
/** No page is as long as that: a stream whose first one ends later was cut out of a longer one. */
const LONGEST_PAGE_SECONDS = 60

interface Stream {
  codec: string
  kind: 'sound' | 'picture' | 'other'
  rate: number
  /** Samples at the beginning that are not played. */
  skip: number
  /** Where the first two pages with sound and the last one end, in samples. */
  first?: number
  second?: number
  last?: number
}

export async function inspectOgg(file: Pages, start: number): Promise<Found | undefined> {
  let streams = new Map<number, Stream>()
  let links = 0
  let seconds = 0
  let first: Stream | undefined
  let hasPicture = false
  let isBeginning = true
  for await (const page of pagesOf(file, start)) {
    if (page.isFirst) {
      if (!isBeginning) {
        seconds += secondsOf(streams)
        streams = new Map()
        links++
      }
      isBeginning = true
      if (streams.size + links >= MAX_STREAMS) return first && found(first, hasPicture, undefined)
      const stream = streamOf(page.body)
      streams.set(page.serial, stream)
      if (stream.kind === 'sound') first ??= stream
      if (stream.kind === 'picture') hasPicture = true
    } else {
      isBeginning = false
      const stream = streams.get(page.serial)
      if (stream) note(stream, page.granule)
    }
  }
  if (streams.size === 0) return undefined
  return found(first, hasPicture, seconds + secondsOf(streams))
}

const found = (first: Stream | undefined, hasPicture: boolean, seconds: number | undefined): Found => ({
  contentType: hasPicture ? 'video/ogg' : 'audio/ogg',
  codec: first?.codec,
  seconds,
})

interface Page {
  isFirst: boolean
  serial: number
  /** `undefined` where no packet ends. */
  granule: number | undefined
  body: Buffer
}

/** Whole pages; what is between them is passed over. */
async function* pagesOf(file: Pages, start: number): AsyncGenerator<Page> {
  let at = start
  while (at + PAGE_HEAD_BYTES <= file.size) {
    const bytes = await file.at(at, MAX_PAGE_BYTES)
    let inPage = 0
    while (inPage + PAGE_HEAD_BYTES <= bytes.length) {
      const length = pageBytesAt(bytes, inPage)
      if (length === undefined) {
        const next = bytes.indexOf('OggS', inPage + 1, 'latin1')
        inPage = next < 0 ? Math.max(inPage + 1, bytes.length - 3) : next
      } else if (inPage + length > bytes.length) {
        break // to be read with its rest, or cut
      } else {
        yield pageAt(bytes, inPage, length)
        inPage += length
      }
    }
    if (inPage === 0) inPage = 4 // a page that the file's end cut, or pretends
    at += inPage
  }
}

/** `undefined` where no page begins. */
function pageBytesAt(bytes: Buffer, at: number): number | undefined {
  if (textAt(bytes, at, 4) !== 'OggS' || bytes[at + 4] !== 0) return undefined
  const segments = bytes[at + 26] ?? 0
  let length = PAGE_HEAD_BYTES + segments
  for (let i = 0; i < segments; i++) length += bytes[at + PAGE_HEAD_BYTES + i] ?? 0
  return length
}

function pageAt(bytes: Buffer, at: number, length: number): Page {
  const [low, high] = [bytes.readUInt32LE(at + 6), bytes.readInt32LE(at + 10)]
  const bodyAt = at + PAGE_HEAD_BYTES + (bytes[at + 26] ?? 0)
  return {
    isFirst: ((bytes[at + 5] ?? 0) & FIRST_PAGE) !== 0,
    serial: bytes.readUInt32LE(at + 14),
    granule: high < 0 ? undefined : high * 2 ** 32 + low,
    body: bytes.subarray(bodyAt, at + length),
  }
}

/** By the first packet. */
function streamOf(packet: Buffer): Stream {
  const sound = (codec: string, rate: number, skip = 0): Stream => ({ codec, kind: 'sound', rate, skip })
  const has = (magic: string, at = 0) => textAt(packet, at, magic.length) === magic
  if (has('OpusHead') && packet.length >= 12) return sound('opus', 48_000, packet.readUInt16LE(10)) // RFC 7845 §4
  if (has('\x01vorbis') && packet.length >= 16) return sound('vorbis', packet.readUInt32LE(12))
  if (has('\x7fFLAC') && packet.length >= 31) return sound('flac', packet.readUIntBE(27, 3) >> 4)
  if (has('Speex   ') && packet.length >= 40) return sound('speex', packet.readUInt32LE(36))
  if (has('fLaC') || has('OggPCM') || has('PCM     ')) return sound('other', 0)
  const isPicture = has('\x80theora') || has('BBCD\0') || has('\x01video') || has('OVP80')
  return { codec: 'other', kind: isPicture ? 'picture' : 'other', rate: 0, skip: 0 }
}

function note(stream: Stream, granule: number | undefined): void {
  if (granule === undefined || granule === 0) return // headers end at 0
  if (stream.first === undefined) stream.first = granule
  else stream.second ??= granule
  stream.last = granule
}

/** The longest sound of those that play at once. */
function secondsOf(streams: Map<number, Stream>): number {
  let longest = 0
  for (const { kind, rate, skip, first = 0, second = 0, last = 0 } of streams.values()) {
    if (kind !== 'sound' || rate === 0) continue
    const start = first > LONGEST_PAGE_SECONDS * rate ? Math.max(0, first - Math.max(0, second - first)) : 0
    longest = Math.max(longest, (last - Math.max(skip, start)) / rate)
  }
  return longest
}

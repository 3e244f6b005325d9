/** Ogg (RFC 3533) with Opus, Vorbis, FLAC or Speex; several streams at once, or one behind the other (a chain). */
import type { Found } from './found.ts'
import { JunkBounds, type Pages, textAt, WorkExceeded } from './pages.ts'

const PAGE_HEAD_BYTES = 27
const MAX_PAGE_BYTES = PAGE_HEAD_BYTES + 255 + 255 * 255
const FIRST_PAGE = 2
const MAX_STREAMS = 1000
/** Eleven hours, of a page for each 20 ms. */
const MAX_PAGES = 2_000_000
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

/** What was seen up to now. */
interface Walk {
  /** Of the present link of the chain, by number. */
  streams: Map<number, Stream>
  /** Only first pages came in it yet. */
  isBeginning: boolean
  links: number
  /** Of the links before. */
  seconds: number
  first?: Stream
  hasPicture: boolean
  pages: number
}

export async function inspectOgg(file: Pages, start: number): Promise<Found | undefined> {
  const walk: Walk = { streams: new Map(), isBeginning: true, links: 0, seconds: 0, hasPicture: false, pages: 0 }
  await eachPage(file, start, (bytes, at, length) => note(walk, bytes, at, length))
  if (walk.streams.size === 0) return undefined
  return {
    contentType: walk.hasPicture ? 'video/ogg' : 'audio/ogg',
    codec: walk.first?.codec,
    seconds: walk.seconds + secondsOf(walk.streams),
  }
}

/** Calls `take` with every whole page; what is between them is passed over. */
async function eachPage(file: Pages, start: number, take: (bytes: Buffer, at: number, length: number) => void) {
  const junk = new JunkBounds()
  let at = start
  while (at + PAGE_HEAD_BYTES <= file.size) {
    const bytes = await file.at(at, MAX_PAGE_BYTES)
    let inPage = 0
    while (inPage + PAGE_HEAD_BYTES <= bytes.length) {
      const length = pageBytesAt(bytes, inPage)
      if (length === undefined) {
        const next = bytes.indexOf(CAPTURE, inPage + 1, 'latin1')
        const behind = next < 0 ? Math.max(inPage + 1, bytes.length - 3) : next
        if (junk.add(behind - inPage)) return
        inPage = behind
      } else if (inPage + length > bytes.length) {
        break // to be read with its rest, or cut
      } else {
        take(bytes, inPage, length)
        junk.end()
        inPage += length
      }
    }
    if (inPage === 0) inPage = CAPTURE.length // a page that the file's end cut, or pretends
    at += inPage
  }
}

const CAPTURE = 'OggS'
const CAPTURE_NUMBER = 0x4f676753

/** `undefined` where no page begins. */
function pageBytesAt(bytes: Buffer, at: number): number | undefined {
  if (bytes.readUInt32BE(at) !== CAPTURE_NUMBER || bytes[at + 4] !== 0) return undefined
  const segments = bytes[at + 26] ?? 0
  let length = PAGE_HEAD_BYTES + segments
  for (let i = 0; i < segments; i++) length += bytes[at + PAGE_HEAD_BYTES + i] ?? 0
  return length
}

function note(walk: Walk, bytes: Buffer, at: number, length: number): void {
  if (++walk.pages > MAX_PAGES) throw new WorkExceeded()
  const serial = bytes.readUInt32LE(at + 14)
  if (((bytes[at + 5] ?? 0) & FIRST_PAGE) === 0) {
    walk.isBeginning = false
    const stream = walk.streams.get(serial)
    if (stream) noteEnd(stream, bytes.readUInt32LE(at + 6), bytes.readInt32LE(at + 10))
    return
  }
  if (!walk.isBeginning) {
    walk.seconds += secondsOf(walk.streams)
    walk.streams = new Map()
    walk.isBeginning = true
    walk.links++
  }
  if (walk.streams.size + walk.links >= MAX_STREAMS) throw new WorkExceeded()
  const stream = streamOf(bytes.subarray(at + PAGE_HEAD_BYTES + (bytes[at + 26] ?? 0), at + length))
  walk.streams.set(serial, stream)
  if (stream.kind === 'sound') walk.first ??= stream
  walk.hasPicture ||= stream.kind === 'picture'
}

/** Where a page ends in its stream, in two halves. */
function noteEnd(stream: Stream, low: number, high: number): void {
  if (high < 0 || (high === 0 && low === 0)) return // no packet ends here; headers end at 0
  const granule = high * 2 ** 32 + low
  if (stream.first === undefined) stream.first = granule
  else stream.second ??= granule
  stream.last = granule
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

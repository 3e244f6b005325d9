/**
 * WebM and Matroska (RFC 9559), also as a browser records: segments and clusters of unknown size, and no duration.
 *
 * One pass over the elements, in at what has children that matter here, past all others. So a cluster needs no end, and
 * nothing that claims to be nested is.
 */
import type { Found } from './found.ts'
import { type Pages, textAt } from './pages.ts'
import { pcmCodec, wavCodec } from './wav.ts'

const ID = {
  ebml: 0x1a45dfa3,
  docType: 0x4282,
  segment: 0x18538067,
  info: 0x1549a966,
  timestampScale: 0x2ad7b1,
  duration: 0x4489,
  tracks: 0x1654ae6b,
  trackEntry: 0xae,
  trackNumber: 0xd7,
  trackType: 0x83,
  codecId: 0x86,
  codecPrivate: 0x63a2,
  audio: 0xe1,
  bitDepth: 0x6264,
  cluster: 0x1f43b675,
  timestamp: 0xe7,
  simpleBlock: 0xa3,
  blockGroup: 0xa0,
  block: 0xa1,
} as const
const ENTERED: readonly number[] = [ID.segment, ID.info, ID.tracks, ID.trackEntry, ID.audio, ID.cluster, ID.blockGroup]
const ELEMENT_HEAD_BYTES = 12
const MAX_VALUE_BYTES = 64
const MAX_TRACKS = 1000
const SOUND = 2
const PICTURE = 1

const CODECS: readonly (readonly [prefix: string, codec: string])[] = [
  ['A_OPUS', 'opus'],
  ['A_VORBIS', 'vorbis'],
  ['A_AAC', 'aac'],
  ['A_MPEG/L3', 'mp3'],
  ['A_FLAC', 'flac'],
  ['A_PCM/INT', 'pcm'],
  ['A_PCM/FLOAT', 'pcm'],
]

interface Track {
  number: number
  type: number
  codec: string
}

interface Element {
  id: number
  start: number
  /** `undefined`: it ends where something comes that it can't hold. */
  end: number | undefined
}

/** What was seen up to now. */
interface Walk {
  tracks: Track[]
  docType: string
  /** Nanoseconds. */
  scale: number
  /** As told, in units of `scale`. */
  duration: number
  /** The header's end promises all of the file that was written. */
  isWhole: boolean
  clusterTime: number
  sound: Times
  others: Times
  segments: number
}

/** When blocks begin, in units of the scale. */
interface Times {
  count: number
  first: number
  last: number
}

export async function inspectMatroska(file: Pages, start: number): Promise<Found | undefined> {
  const walk: Walk = {
    tracks: [],
    docType: '',
    scale: 1_000_000,
    duration: 0,
    isWhole: false,
    clusterTime: 0,
    sound: { count: 0, first: 0, last: 0 },
    others: { count: 0, first: 0, last: 0 },
    segments: 0,
  }
  let at = start
  for (;;) {
    const element = await elementAt(file, at)
    if (!element || (element.id === ID.ebml && walk.segments > 0)) break
    // With all tracks known, what the header tells of a whole file is enough.
    if (element.id === ID.cluster && walk.isWhole && walk.duration > 0 && walk.tracks.length > 0) break
    at = await take(file, element, walk)
  }
  const sound = walk.tracks.find(({ type }) => type === SOUND)
  const hasPicture = walk.tracks.some(({ type }) => type === PICTURE)
  if (walk.docType !== 'webm' && walk.docType !== 'matroska') return undefined
  // A second file behind the first: players don't agree on what that is.
  const isOne = (await elementAt(file, at))?.id !== ID.ebml
  return {
    contentType: `${hasPicture ? 'video' : 'audio'}/${walk.docType}`,
    codec: sound?.codec,
    seconds: isOne ? secondsOf(walk) : undefined,
  }
}

/** Learns from an element, and returns where the next one to look at begins. */
async function take(file: Pages, { id, start, end }: Element, walk: Walk): Promise<number> {
  if (id === ID.segment) {
    walk.segments++
    walk.isWhole = end !== undefined && end <= file.size
  }
  if (id === ID.trackEntry && walk.tracks.length < MAX_TRACKS) walk.tracks.push({ number: 0, type: 0, codec: 'other' })
  if (id === ID.simpleBlock || id === ID.block) await note(file, start, end ?? file.size, walk)
  else if (id === ID.ebml) await readDocType(file, start, end ?? start, walk)
  else if (end !== undefined && !ENTERED.includes(id)) await readValue(file, id, start, end, walk)
  return ENTERED.includes(id) || end === undefined ? start : end
}

async function readDocType(file: Pages, start: number, end: number, walk: Walk): Promise<void> {
  for (let at = start; at < end; ) {
    const element = await elementAt(file, at)
    if (element?.end === undefined) return
    const { id, start: from, end: to } = element
    if (id === ID.docType && to - from <= MAX_VALUE_BYTES) {
      walk.docType = textOf((await file.exactly(from, to - from)) ?? Buffer.alloc(0))
    }
    at = to
  }
}

async function readValue(file: Pages, id: number, start: number, end: number, walk: Walk): Promise<void> {
  const wanted: readonly number[] = [
    ID.timestampScale,
    ID.duration,
    ID.trackNumber,
    ID.trackType,
    ID.codecId,
    ID.codecPrivate,
    ID.bitDepth,
    ID.timestamp,
  ]
  if (!wanted.includes(id) || end - start > MAX_VALUE_BYTES) return
  const bytes = await file.exactly(start, end - start)
  if (!bytes) return
  const track = walk.tracks.at(-1)
  if (id === ID.timestampScale) walk.scale = unsigned(bytes) || walk.scale
  else if (id === ID.timestamp) walk.clusterTime = unsigned(bytes)
  else if (id === ID.duration) {
    walk.duration = bytes.length === 4 ? bytes.readFloatBE() : bytes.length === 8 ? bytes.readDoubleBE() : 0
  } else if (track && id === ID.trackNumber) track.number = unsigned(bytes)
  else if (track && id === ID.trackType) track.type = unsigned(bytes)
  else if (track && id === ID.codecId) {
    const name = textOf(bytes)
    track.codec = CODECS.find(([prefix]) => name.startsWith(prefix))?.[1] ?? name
  } else if (track?.codec === 'pcm' && id === ID.bitDepth) {
    track.codec = pcmCodec(unsigned(bytes))
  } else if (track?.codec === 'A_MS/ACM' && id === ID.codecPrivate && bytes.length >= 2) {
    track.codec = wavCodec(bytes.readUInt16LE(0)) // the format of a WAVE file
  }
}

/** A block counts if it is there to its end (RFC 9559 §10). */
async function note(file: Pages, start: number, end: number, walk: Walk): Promise<void> {
  if (end > file.size) return
  const head = await file.at(start, Math.min(12, end - start))
  const number = vintAt(head, 0)
  if (!number || head.length < number.length + 2) return
  const time = walk.clusterTime + head.readInt16BE(number.length)
  const track = walk.tracks.find((each) => each.number === number.value)
  const times = track?.type === SOUND ? walk.sound : walk.others
  if (times.count === 0 || time < times.first) times.first = time
  if (times.count === 0 || time > times.last) times.last = time
  times.count++
}

function secondsOf({ isWhole, duration, scale, sound, others }: Walk): number | undefined {
  if (isWhole && duration > 0) return (duration * scale) / 1e9
  const { count, first, last } = sound.count > 0 ? sound : others
  // The last block plays too: as long as the others do.
  return count < 2 ? undefined : (((last - first) * count) / (count - 1)) * (scale / 1e9)
}

async function elementAt(file: Pages, at: number): Promise<Element | undefined> {
  const bytes = await file.at(at, ELEMENT_HEAD_BYTES)
  const idBytes = Math.clz32(bytes[0] ?? 0) - 23
  if (bytes.length < 2 || idBytes > 4 || bytes.length <= idBytes) return undefined
  const size = vintAt(bytes, idBytes)
  if (!size) return undefined
  const start = at + idBytes + size.length
  return { id: bytes.readUIntBE(0, idBytes), start, end: size.isUnknown ? undefined : start + size.value }
}

/** A number that tells its own length (RFC 8794 §4). */
function vintAt(bytes: Buffer, at: number): { value: number; length: number; isUnknown: boolean } | undefined {
  const first = bytes[at] ?? 0
  const length = Math.clz32(first) - 23
  if (length > 8 || at + length > bytes.length) return undefined
  let value = first & (0xff >> length)
  let isUnknown = value === 0xff >> length
  for (let i = 1; i < length; i++) {
    const byte = bytes[at + i] ?? 0
    value = value * 256 + byte
    isUnknown &&= byte === 0xff
  }
  return { value, length, isUnknown }
}

const unsigned = (bytes: Buffer): number => bytes.reduce((value, byte) => value * 256 + byte, 0)
const textOf = (bytes: Buffer): string => textAt(bytes, 0, bytes.length).replace(/\0+$/, '')

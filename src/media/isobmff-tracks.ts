/** A track of an ISO base media file: its kind and codec, and how long its samples play. */
import { type Box, boxesOf } from './isobmff-boxes.ts'
import { type Pages, textAt } from './pages.ts'

/** What a file says of itself as a whole. */
export interface Movie {
  tracks: Track[]
  /** Ticks a second of edit lists. */
  timescale: number
  /** Ticks of a sample by track, where a fragment says nothing else: `trex`. */
  defaultTicks: Map<number, number>
}

export interface Track {
  id: number
  kind: 'sound' | 'picture' | 'other'
  codec: string
  isCut: boolean
  /** Ticks a second. */
  timescale: number
  /** The boxes of times and sizes, which are read when they are needed. */
  times?: Box
  sizes?: Box
  /** Where the first sample stands. */
  firstAt?: number
  edits: Edit[]
  fragments: Fragments
}

/** What fragments add, in ticks of the track. */
export interface Fragments {
  /** All their samples, by the durations told. */
  ticks: number
  /** Where the first begins and the last ends. */
  start?: number
  end: number
  /** Does each say when it begins? */
  areTimed: boolean
  /** One begins far from where the one before ends. */
  hasGap: boolean
}

interface Edit {
  /** In ticks of the movie. */
  duration: number
  /** In ticks of the track; -1 for nothing that plays. */
  from: number
}

const MAX_EDITS = 1000

/** By path from `trak`. */
const ENTERED: readonly string[] = ['edts', 'mdia', 'mdia/minf', 'mdia/minf/stbl']

export async function readTrack(file: Pages, trak: Box): Promise<Track> {
  const track: Track = {
    id: 0,
    kind: 'other',
    codec: 'other',
    isCut: trak.isCut,
    timescale: 0,
    edits: [],
    fragments: { ticks: 0, end: 0, areTimed: true, hasGap: false },
  }
  await enter(file, trak, '', track)
  return track
}

async function enter(file: Pages, parent: Box, path: string, track: Track): Promise<void> {
  for await (const box of boxesOf(file, parent.start, parent.end)) {
    const boxPath = path + box.type
    if (ENTERED.includes(boxPath)) await enter(file, box, `${boxPath}/`, track)
    else await (READERS[boxPath] ?? passOver)(file, box, track)
  }
}

const passOver = async () => {}

const READERS: Readonly<Record<string, (file: Pages, box: Box, track: Track) => Promise<void>>> = {
  tkhd: async (file, box, track) => {
    const head = await file.at(box.start, 24)
    if (head.length >= 24) track.id = head.readUInt32BE(head[0] === 1 ? 20 : 12)
  },
  'edts/elst': async (file, box, track) => {
    const [version, count] = await fullBox(file, box)
    const entryBytes = version === 1 ? 20 : 12
    for (let i = 0, at = box.start + 8; i < Math.min(count, MAX_EDITS) && at + entryBytes <= box.end; i++) {
      const entry = await file.exactly(at, entryBytes)
      if (!entry) return
      const duration = version === 1 ? Number(entry.readBigUInt64BE(0)) : entry.readUInt32BE(0)
      track.edits.push({ duration, from: version === 1 ? Number(entry.readBigInt64BE(8)) : entry.readInt32BE(4) })
      at += entryBytes
    }
  },
  'mdia/mdhd': async (file, box, track) => {
    const head = await file.at(box.start, 24)
    if (head.length >= 24) track.timescale = head.readUInt32BE(head[0] === 1 ? 20 : 12)
  },
  'mdia/hdlr': async (file, box, track) => {
    const kind = textAt(await file.at(box.start, 12), 8, 4)
    track.kind = kind === 'soun' ? 'sound' : kind === 'vide' ? 'picture' : 'other'
  },
  'mdia/minf/stbl/stsd': async (file, box, track) => {
    const bytes = await file.at(box.start, Math.min(MAX_DESCRIPTION_BYTES, box.end - box.start))
    const description = bytes.subarray(8, Math.min(MAX_DESCRIPTION_BYTES, box.end - box.start))
    const format = textAt(description, 4, 4)
    track.codec = format === 'mp4a' ? mp4aCodec(description) : (CODECS[format] ?? 'other')
    if (['jpeg', 'png ', 'mjpa'].includes(format)) track.kind = 'other' // a cover
  },
  'mdia/minf/stbl/stts': async (_file, box, track) => {
    track.times = box
  },
  'mdia/minf/stbl/stsz': async (_file, box, track) => {
    track.sizes = box
  },
  'mdia/minf/stbl/stco': async (file, box, track) => {
    const head = await file.at(box.start, 12)
    if (head.length >= 12 && head.readUInt32BE(4) > 0) track.firstAt = head.readUInt32BE(8)
  },
  'mdia/minf/stbl/co64': async (file, box, track) => {
    const head = await file.at(box.start, 16)
    if (head.length >= 16 && head.readUInt32BE(4) > 0) track.firstAt = Number(head.readBigUInt64BE(8))
  },
}

const MAX_DESCRIPTION_BYTES = 1024

const CODECS: Readonly<Record<string, string>> = {
  Opus: 'opus',
  fLaC: 'flac',
  '.mp3': 'mp3',
  samr: 'amr',
  sawb: 'amr-wb',
  sowt: 'pcm',
  twos: 'pcm',
  'raw ': 'pcm',
  in24: 'pcm',
  in32: 'pcm',
  fl32: 'pcm',
  ulaw: 'mulaw',
  alaw: 'alaw',
}

/** What the description leaves open, and a frame tells. */
export const MPEG_OF_SOME_LAYER = 'mpeg'

/** `mp4a` is whatever its descriptor says (ISO/IEC 14496-1 §7.2.6.6); most often AAC. */
function mp4aCodec(description: Buffer): string {
  const esds = description.indexOf('esds', 0, 'latin1')
  if (esds < 0) return 'aac'
  const decoder = behindLength(description, esds + 8) + 3 // behind the head of ES_Descriptor: id and flags
  const objectType = description[decoder] === 4 ? description[behindLength(description, decoder)] : 0x40
  if (objectType === 0x69 || objectType === 0x6b) return MPEG_OF_SOME_LAYER
  if (objectType === 0xdd) return 'vorbis'
  return objectType === 0x40 || (objectType !== undefined && objectType >= 0x66 && objectType <= 0x68) ? 'aac' : 'other'
}

/** Behind the tag at `at` and its length, which has seven bits in each byte. */
function behindLength(bytes: Buffer, at: number): number {
  let next = at + 1
  while (((bytes[next] ?? 0) & 0x80) !== 0) next++
  return next + 1
}

/** Version and number of entries. */
async function fullBox(file: Pages, box: Box): Promise<readonly [version: number, count: number]> {
  const head = box.end - box.start < 8 ? undefined : await file.exactly(box.start, 8)
  return [head?.[0] ?? 0, head?.readUInt32BE(4) ?? 0]
}

/**
 * Seconds that a track plays; `undefined` if that can't be told.
 *
 * @param cutDataAt where data begins that is not all there
 */
export async function secondsOfTrack(
  file: Pages,
  track: Track,
  movie: Movie,
  cutDataAt: number | undefined,
): Promise<number | undefined> {
  const { fragments, timescale, edits } = track
  if (timescale === 0) return undefined
  let samples = Number.POSITIVE_INFINITY
  const isCut = cutDataAt !== undefined && fragments.ticks === 0
  if (isCut) samples = movie.tracks.length === 1 ? await samplesThere(file, track, cutDataAt) : 0
  const ticks = await ticksOf(file, track, samples)
  const media = (ticks + ticksOfFragments(fragments)) / timescale
  if (fragments.hasGap) return undefined // players don't agree on whether a gap plays
  return edited(media, edits, timescale, fragments.ticks > 0 || isCut ? 0 : movie.timescale)
}

/**
 * By when they begin, where they tell: Chromium's recorder writes 21 ms for the last sample of each fragment, however long
 * it is.
 */
const ticksOfFragments = ({ ticks, start = 0, end, areTimed }: Fragments): number =>
  areTimed && ticks > 0 ? end - start : ticks

/** Ticks of the first `samples` samples. */
async function ticksOf(file: Pages, { times }: Track, samples: number): Promise<number> {
  if (!times) return 0
  const [, count] = await fullBox(file, times)
  let [ticks, left] = [0, samples]
  const end = Math.min(times.end, times.start + 8 + count * 8)
  for (let at = times.start + 8; at + 8 <= end && left > 0; ) {
    const bytes = await file.at(at, 8)
    const whole = Math.min(bytes.length, end - at) >> 3
    if (whole === 0) break
    for (let i = 0; i < whole; i++) {
      const alike = Math.min(left, bytes.readUInt32BE(8 * i))
      ticks += alike * bytes.readUInt32BE(8 * i + 4)
      left -= alike
    }
    at += 8 * whole
  }
  return ticks
}

/** How many samples stand ahead of the file's end, if they stand one behind the other, as a lone track's do. */
async function samplesThere(file: Pages, { sizes, firstAt }: Track, dataAt: number): Promise<number> {
  const head = sizes && sizes.end - sizes.start >= 12 ? await file.exactly(sizes.start, 12) : undefined
  if (!sizes || !head) return 0
  let bytesLeft = file.size - Math.max(dataAt, firstAt ?? 0)
  const [alike, count] = [head.readUInt32BE(4), head.readUInt32BE(8)]
  if (alike > 0) return Math.min(count, Math.floor(Math.max(0, bytesLeft) / alike))
  let samples = 0
  const end = Math.min(sizes.end, sizes.start + 12 + count * 4)
  for (let at = sizes.start + 12; at + 4 <= end; ) {
    const bytes = await file.at(at, 4)
    const whole = Math.min(bytes.length, end - at) >> 2
    if (whole === 0) break
    for (let i = 0; i < whole; i++) {
      bytesLeft -= bytes.readUInt32BE(4 * i)
      if (bytesLeft < 0) return samples
      samples++
    }
    at += 4 * whole
  }
  return samples
}

/** What an edit list leaves of it; without `movieTimescale`, only what it skips at the start counts. */
function edited(media: number, edits: readonly Edit[], timescale: number, movieTimescale: number): number {
  const played = edits.filter(({ from }) => from >= 0)
  const [only] = played
  if (!only) return media
  const left = media - Math.min(media, only.from / timescale)
  if (movieTimescale === 0) return left
  const told = edits.reduce((sum, { duration }) => sum + duration, 0) / movieTimescale
  const empty = edits.reduce((sum, { duration, from }) => sum + (from < 0 ? duration : 0), 0) / movieTimescale
  if (played.length > 1) return Math.min(told, media * played.length + empty)
  return only.duration === 0 ? left + empty : Math.min(told, left + empty)
}

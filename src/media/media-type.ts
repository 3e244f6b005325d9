/**
 * What recorded bytes are: their media type, how long they play, and whether browsers play them.
 *
 * The type goes by the bytes, and by the file name's extension only where the bytes say nothing. Pure: the caller
 * passes a function that reads. Made for files from strangers: whatever they hold, memory, reads and steps are bounded
 * and linear, and a file that makes no sense is `unrecognised`, never an error. Tags, covers and comments are passed over
 * unread. A duration that might be wrong by more than 2 % is not told.
 */
import { ADTS, inspectAdts } from './adts.ts'
import { inspectAiff } from './aiff.ts'
import { inspectAmr } from './amr.ts'
import { ASF_HEADER, inspectAsf } from './asf.ts'
import { inspectAu } from './au.ts'
import { inspectCaf } from './caf.ts'
import { playsBehind, playsInBrowsers, typeMostlyPlays } from './codecs.ts'
import { mediaTypeOfExtension } from './extensions.ts'
import { inspectFlac } from './flac.ts'
import type { Found } from './found.ts'
import { type FrameKind, findFrames, framesBeginAt, id3BytesAt } from './frames.ts'
import { inspectIsobmff } from './isobmff.ts'
import { inspectMatroska } from './matroska.ts'
import { inspectMpegAudio, MPEG_AUDIO } from './mpeg-audio.ts'
import { inspectOgg } from './ogg.ts'
import { asBuffer, Pages, type ReadBytes, textAt, WorkExceeded } from './pages.ts'
import { inspectWav, isWav, plainWav } from './wav.ts'

export interface Inspection {
  contentType: string
  /** Null where it can't be told, or only by more work than a recording is worth. */
  durationSeconds: number | null
  /** `ok`: the bytes are a kind of media known here, and have a sound track. */
  mediaCheck: 'ok' | 'unrecognised'
  playsInBrowsers: boolean
}

/** Enough to tell every kind by; what is no media costs one read of it. */
export const HEAD_BYTES = 4100
/** Recorders that died, and tools that cut, leave that much ahead of the sound. */
const MAX_ZEROS_AHEAD = 1024 * 1024 + 3 // a box's length begins with some
const MAX_TAGS_AHEAD = 16

interface Kind {
  /** What it most likely is, before more of it is read. */
  contentType: string
  isHead(head: Buffer): boolean
  inspect(file: Pages, start: number): Promise<Found | undefined>
}

const BOXES_AHEAD = ['ftyp', 'styp', 'moov', 'mdat', 'free', 'skip', 'wide', 'pnot']
const begins =
  (magic: string, at = 0) =>
  (head: Buffer) =>
    textAt(head, at, magic.length) === magic

/** The first that fits. */
const KINDS: readonly Kind[] = [
  { contentType: 'audio/wav', isHead: isWav, inspect: inspectWav },
  { contentType: 'audio/ogg', isHead: begins('OggS'), inspect: inspectOgg },
  { contentType: 'audio/flac', isHead: begins('fLaC'), inspect: inspectFlac },
  { contentType: 'audio/webm', isHead: begins('\x1aE\xdf\xa3'), inspect: inspectMatroska },
  { contentType: 'audio/3gpp', isHead: begins('ftyp3g', 4), inspect: inspectIsobmff },
  { contentType: 'audio/mp4', isHead: (head) => BOXES_AHEAD.includes(textAt(head, 4, 4)), inspect: inspectIsobmff },
  { contentType: 'audio/amr-wb', isHead: begins('#!AMR-WB\n'), inspect: inspectAmr },
  { contentType: 'audio/amr', isHead: begins('#!AMR\n'), inspect: inspectAmr },
  { contentType: 'audio/x-caf', isHead: begins('caff'), inspect: inspectCaf },
  {
    contentType: 'audio/aiff',
    isHead: (head) => textAt(head, 0, 4) === 'FORM' && ['AIFF', 'AIFC'].includes(textAt(head, 8, 4)),
    inspect: inspectAiff,
  },
  { contentType: 'audio/basic', isHead: begins('.snd'), inspect: inspectAu },
  { contentType: 'audio/x-ms-wma', isHead: (head) => head.toString('hex', 0, 16) === ASF_HEADER, inspect: inspectAsf },
]

/** Frames without a container: a few that follow each other make the kind. */
const STREAMS: readonly { frames: FrameKind; kind: Omit<Kind, 'isHead'> }[] = [
  { frames: ADTS, kind: { contentType: 'audio/aac', inspect: inspectAdts } },
  { frames: MPEG_AUDIO, kind: { contentType: 'audio/mpeg', inspect: inspectMpegAudio } },
]

const streamOf = (head: Buffer) => STREAMS.find(({ frames }) => frames.lengthAt(head, 0) > 0)

/**
 * Finds out type and duration of a file of `size` bytes.
 *
 * Bytes that are no media at all cost one read of 4 KiB. Content never makes it throw.
 *
 * @throws what `read` throws
 */
export async function inspectMedia(read: ReadBytes, size: number, filename: string): Promise<Inspection> {
  const head = asBuffer(await read(0, Math.min(HEAD_BYTES, size)))
  const file = new Pages(read, size, head)
  try {
    return await walkMedia(file, filename)
  } catch {
    if (file.readFault) throw file.readFault.cause
    return inspectHead(head, filename)
  }
}

/** @throws WorkExceeded, and what reading throws */
export async function walkMedia(file: Pages, filename: string): Promise<Inspection> {
  const start = await behindTagsAndZeros(file)
  const sound = await kindAt(file, start.at)
  const byName = mediaTypeOfExtension(filename) ?? 'application/octet-stream'
  try {
    const inspection = inspectionOf(await sound?.kind.inspect(file, sound.start), byName)
    return playsBehind(start, inspection.contentType) ? inspection : { ...inspection, playsInBrowsers: false }
  } catch (error) {
    if (error instanceof WorkExceeded && sound) return inspectionByType(sound.kind.contentType)
    throw error
  }
}

/** By a few comparisons in the first bytes: a plain WAVE file of any size; `undefined` for all others. */
export function inspectPlainWav(head: Uint8Array, size: number): Inspection | undefined {
  const found = plainWav(asBuffer(head), size)
  return found && inspectionOf(found, '')
}

/** What the first bytes show, by the same few steps whatever they are: for files that could not be looked into in time. */
export function inspectHead(head: Uint8Array, filename: string): Inspection {
  const bytes = asBuffer(head)
  const kind = KINDS.find(({ isHead }) => isHead(bytes)) ?? streamOf(bytes)?.kind
  const isTag = id3BytesAt(bytes, 0) > 0
  if (kind || isTag) return inspectionByType(kind?.contentType ?? 'audio/mpeg')
  return inspectionOf(undefined, mediaTypeOfExtension(filename) ?? 'application/octet-stream')
}

function inspectionOf(found: Found | undefined, byName: string): Inspection {
  if (found?.codec === undefined) {
    const contentType = found?.contentType ?? byName
    return { contentType, durationSeconds: null, mediaCheck: 'unrecognised', playsInBrowsers: false }
  }
  const { contentType, codec, seconds } = found
  return {
    contentType,
    durationSeconds: plausibleSeconds(seconds),
    mediaCheck: 'ok',
    playsInBrowsers: playsInBrowsers(contentType, codec),
  }
}

const inspectionByType = (contentType: string): Inspection => ({
  contentType,
  durationSeconds: null,
  mediaCheck: 'ok',
  playsInBrowsers: typeMostlyPlays(contentType),
})

/** To the millisecond; null for what rounds to nothing, or is no number of seconds. */
const plausibleSeconds = (seconds: number | undefined): number | null => {
  const rounded = Math.round((seconds ?? 0) * 1000) / 1000
  return Number.isFinite(rounded) && rounded > 0 ? rounded : null
}

/** Where the file begins in earnest, and what stands ahead of it. */
interface Start {
  at: number
  tags: number
  zeros: number
}

async function behindTagsAndZeros(file: Pages): Promise<Start> {
  const start = { at: 0, tags: 0, zeros: 0 }
  while (start.tags < MAX_TAGS_AHEAD && start.at < file.size) {
    const bytes = await file.at(start.at, 16)
    if (KINDS.some(({ isHead }) => isHead(bytes))) break
    const tag = id3BytesAt(bytes, 0)
    if (tag > 0 && start.at + tag < file.size) {
      start.at += tag
      start.tags++
      continue
    }
    const found = bytes.findIndex((byte) => byte !== 0)
    const zeros = found < 0 ? bytes.length : found
    if (zeros === 0 || start.zeros + zeros > MAX_ZEROS_AHEAD) break
    start.zeros += zeros
    start.at = found < 0 ? start.at + zeros : await boxLengthBefore(file, start.at + zeros)
  }
  return start
}

/** Where a box begins whose length has its first byte that is not zero at `at`; else `at` itself. */
async function boxLengthBefore(file: Pages, at: number): Promise<number> {
  for (const zeros of [3, 2]) {
    if (at >= zeros && BOXES_AHEAD.includes(textAt(await file.at(at - zeros, 8), 4, 4))) return at - zeros
  }
  return at
}

/** What begins at `at`, or, where nothing does, frames that begin a little later: a stream that was cut at its start. */
async function kindAt(file: Pages, at: number): Promise<{ kind: Omit<Kind, 'isHead'>; start: number } | undefined> {
  const head = (await file.at(at, Math.min(HEAD_BYTES, file.size - at))).subarray(0, HEAD_BYTES)
  const kind = KINDS.find(({ isHead }) => isHead(head))
  if (kind) return { kind, start: at }
  const isWhole = at + head.length >= file.size
  const here = streamOf(head)
  if (here) {
    const { frames, kind: stream } = here
    const bytes = await file.at(at, frames.proof * frames.maxFrameBytes + frames.headerBytes)
    if (framesBeginAt(bytes, 0, frames, frames.proof, at + bytes.length >= file.size)) {
      return { kind: stream, start: at }
    }
  }
  for (const { frames, kind: stream } of STREAMS) {
    const found = findFrames(head, 1, frames, isWhole)
    if (found >= 0) return { kind: stream, start: at + found }
  }
  return undefined
}

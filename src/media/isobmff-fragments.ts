/** Fragments of an ISO base media file (ISO/IEC 14496-12 §8.8): what each adds to the tracks that it has samples of. */
import { type Box, boxesOf } from './isobmff-boxes.ts'
import type { Movie, Track } from './isobmff-tracks.ts'
import type { Pages } from './pages.ts'

/** What a fragment says of one track's samples, where they don't say it themselves. */
interface Defaults {
  track: Track | undefined
  ticks: number
  bytes: number
}

/** Samples count as far as their bytes are there, which stand behind the fragment. */
export async function readFragment(file: Pages, moof: Box, movie: Movie): Promise<void> {
  if (moof.isCut) return
  const data = { bytesLeft: file.size - moof.end - 8 }
  for await (const traf of boxesOf(file, moof.start, moof.end)) {
    if (traf.type !== 'traf') continue
    let defaults: Defaults = { track: undefined, ticks: 0, bytes: 0 }
    let ticks = 0
    let startsAt: number | undefined
    for await (const box of boxesOf(file, traf.start, traf.end)) {
      if (box.type === 'tfhd') defaults = await readDefaults(file, box, movie)
      if (box.type === 'tfdt') startsAt = await readStart(file, box)
      if (box.type === 'trun') ticks += await ticksOfRun(file, box, defaults, data)
    }
    if (defaults.track && ticks > 0) add(defaults.track, startsAt, ticks)
  }
}

const MAX_GAP_SECONDS = 10

function add({ fragments, timescale }: Track, startsAt: number | undefined, ticks: number): void {
  if (startsAt === undefined) fragments.areTimed = false
  else {
    const isFirst = fragments.start === undefined
    fragments.hasGap ||= !isFirst && Math.abs(startsAt - fragments.end) > MAX_GAP_SECONDS * timescale
    fragments.start = Math.min(fragments.start ?? startsAt, startsAt)
    fragments.end = Math.max(fragments.end, startsAt + ticks)
  }
  fragments.ticks += ticks
}

async function readDefaults(file: Pages, box: Box, movie: Movie): Promise<Defaults> {
  const head = await file.at(box.start, Math.min(32, box.end - box.start))
  const bytes = head.subarray(0, box.end - box.start)
  if (bytes.length < 8) return { track: undefined, ticks: 0, bytes: 0 }
  const flags = bytes.readUIntBE(1, 3)
  const id = bytes.readUInt32BE(4)
  let at = 8 + (flags & 1 ? 8 : 0) + (flags & 2 ? 4 : 0)
  const next = (flag: number) => {
    if ((flags & flag) === 0 || at + 4 > bytes.length) return undefined
    at += 4
    return bytes.readUInt32BE(at - 4)
  }
  const ticks = next(8) ?? movie.defaultTicks.get(id) ?? 0
  return { track: movie.tracks.find((track) => track.id === id), ticks, bytes: next(16) ?? 0 }
}

async function readStart(file: Pages, box: Box): Promise<number | undefined> {
  const head = await file.at(box.start, 12)
  if (head.length < 12) return undefined
  return head[0] === 1 ? Number(head.readBigUInt64BE(4)) : head.readUInt32BE(4)
}

const HAS_TICKS = 0x100
const HAS_BYTES = 0x200

async function ticksOfRun(file: Pages, box: Box, defaults: Defaults, data: { bytesLeft: number }): Promise<number> {
  const head = box.end - box.start < 8 ? undefined : await file.exactly(box.start, 8)
  if (!head) return 0
  const flags = head.readUIntBE(1, 3)
  const count = head.readUInt32BE(4)
  const fields = [HAS_TICKS, HAS_BYTES, 0x400, 0x800].filter((flag) => flags & flag).length
  if (fields === 0) {
    const there = defaults.bytes > 0 ? Math.min(count, Math.floor(data.bytesLeft / defaults.bytes)) : count
    data.bytesLeft -= there * defaults.bytes
    return Math.max(0, there) * defaults.ticks
  }
  const entryBytes = fields * 4
  let ticks = 0
  let at = box.start + 8 + (flags & 1 ? 4 : 0) + (flags & 4 ? 4 : 0)
  const end = Math.min(box.end, at + count * entryBytes)
  while (at + entryBytes <= end) {
    const bytes = await file.at(at, entryBytes)
    const whole = Math.floor(Math.min(bytes.length, end - at) / entryBytes)
    if (whole === 0) break
    for (let i = 0; i < whole; i++) {
      const entry = i * entryBytes
      data.bytesLeft -= flags & HAS_BYTES ? bytes.readUInt32BE(entry + (flags & HAS_TICKS ? 4 : 0)) : defaults.bytes
      if (data.bytesLeft < 0) return ticks
      ticks += flags & HAS_TICKS ? bytes.readUInt32BE(entry) : defaults.ticks
    }
    at += whole * entryBytes
  }
  return ticks
}

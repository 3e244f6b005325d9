/**
 * ISO base media files (ISO/IEC 14496-12): MP4, M4A, 3GP, QuickTime; whole, or in fragments as they are recorded.
 *
 * The few boxes that tell track, codec and samples are entered by their path, all others passed over: what nests itself
 * deeper is not followed.
 */
import type { Found } from './found.ts'
import { type Box, boxesOf } from './isobmff-boxes.ts'
import { readFragment } from './isobmff-fragments.ts'
import { type Movie, MPEG_OF_SOME_LAYER, readTrack, secondsOfTrack, type Track } from './isobmff-tracks.ts'
import { mpegCodec } from './mpeg-audio.ts'
import { type Pages, textAt } from './pages.ts'

const MAX_TRACKS = 100

export async function inspectIsobmff(file: Pages, start: number): Promise<Found | undefined> {
  let brand: string | undefined
  let movie: Movie | undefined
  /** The samples' bytes, when they may not all be there. */
  let cutDataAt: number | undefined
  let hasData = false
  for await (const box of boxesOf(file, start, file.size)) {
    if (box.type === 'ftyp' && brand === undefined) brand = textAt(await file.at(box.start, 4), 0, 4)
    else if (box.type === 'moov' && !movie) movie = await readMovie(file, box)
    else if (box.type === 'moof' && movie) await readFragment(file, box, movie)
    else if (box.type === 'mdat') {
      hasData = true
      if (box.isCut) cutDataAt = box.start
    }
  }
  const sounds = movie?.tracks.filter(({ kind }) => kind === 'sound') ?? []
  if (!movie || sounds.length === 0) {
    return brand === undefined ? undefined : { contentType: typeOf(brand, movie), codec: undefined, seconds: undefined }
  }
  let seconds: number | undefined
  for (const track of hasData ? sounds : []) {
    seconds = Math.max(seconds ?? 0, (await secondsOfTrack(file, track, movie, cutDataAt)) ?? 0)
  }
  return {
    contentType: typeOf(brand ?? 'qt  ', movie),
    codec: await codecOf(file, sounds[0]),
    seconds,
  }
}

async function codecOf(file: Pages, track: Track | undefined): Promise<string | undefined> {
  // A player finds nothing where the tables are cut.
  if (track?.isCut) return 'other'
  if (track?.codec !== MPEG_OF_SOME_LAYER || track.firstAt === undefined) return track?.codec
  return mpegCodec(await file.at(track.firstAt, 4))
}

function typeOf(brand: string, movie: Movie | undefined): string {
  const isVideo = movie?.tracks.some(({ kind }) => kind === 'picture') ?? false
  const container = brand.startsWith('3g2') ? '3gpp2' : brand.startsWith('3g') ? '3gpp' : 'mp4'
  return `${isVideo ? 'video' : 'audio'}/${container}`
}

async function readMovie(file: Pages, moov: Box): Promise<Movie> {
  const movie: Movie = { tracks: [], timescale: 0, defaultTicks: new Map() }
  for await (const box of boxesOf(file, moov.start, moov.end)) {
    if (box.type === 'mvhd') {
      const head = await file.at(box.start, 24)
      if (head.length >= 24) movie.timescale = head.readUInt32BE(head[0] === 1 ? 20 : 12)
    } else if (box.type === 'trak' && movie.tracks.length < MAX_TRACKS) {
      movie.tracks.push(await readTrack(file, box))
    } else if (box.type === 'mvex') {
      for await (const trex of boxesOf(file, box.start, box.end)) {
        const head = trex.type === 'trex' ? await file.exactly(trex.start, 16) : undefined
        if (head && movie.defaultTicks.size < MAX_TRACKS)
          movie.defaultTicks.set(head.readUInt32BE(4), head.readUInt32BE(12))
      }
    }
  }
  return movie
}

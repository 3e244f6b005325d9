/**
 * The audio under test/fixtures: what each file is and how long it plays. `test/fixtures/make.sh` makes them.
 */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

export interface Fixture {
  /** File name under test/fixtures, also the name to upload it by. */
  name: string
  /** What the service calls it. */
  contentType: string
  /** To within 0.1 s; null where it is not told. */
  durationSeconds: number | null
  /** Whether Chromium has a decoder for it. */
  plays: boolean
}

const fixture = (name: string, contentType: string, durationSeconds: number | null, plays = true): Fixture => ({
  name,
  contentType,
  durationSeconds,
  plays,
})

/** Every type that is served, some in two makes. */
export const AUDIO: readonly Fixture[] = [
  fixture('tone.aac', 'audio/aac', 2.41),
  fixture('tone.mp3', 'audio/mpeg', 2.45),
  fixture('tone-id3.mp3', 'audio/mpeg', 2.45),
  fixture('tone.m4a', 'audio/mp4', 2.4),
  fixture('tone-faststart.m4a', 'audio/mp4', 2.4),
  fixture('tone.wav', 'audio/wav', 2.4),
  fixture('tone-opus.ogg', 'audio/ogg', 2.4),
  fixture('tone-vorbis.ogg', 'audio/ogg', 2.4),
  fixture('tone.opus', 'audio/ogg', 2.4),
  fixture('tone.amr', 'audio/amr', 2.4, false),
  fixture('tone.3gp', 'audio/3gpp', 2.4),
  fixture('tone-amr.3gp', 'audio/3gpp', 2.4, false),
  fixture('tone.webm', 'audio/webm', 2.4),
  fixture('tone.flac', 'audio/flac', 2.4),
]

/** The containers that can hold audio alone, here with a picture. */
export const VIDEO: readonly Fixture[] = [
  fixture('video.webm', 'video/webm', 1),
  fixture('video.3gp', 'video/3gpp', 1),
  fixture('video.m4a', 'video/mp4', 1),
]

export const fixturePath = (name: string): string => fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url))

export const fixtureBytes = (name: string): Buffer => readFileSync(fixturePath(name))

/** Debian's ffmpeg: sound in whatever container and codec a client may have, and a second opinion on it. */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

export const hasFfmpeg = existsSync('/usr/bin/ffmpeg') && existsSync('/usr/bin/ffprobe')

async function inFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(path.join(tmpdir(), 'ffmpeg-'))
  try {
    return await work(folder)
  } finally {
    await rm(folder, { recursive: true })
  }
}

/** All of `MADE`, by name, in one run: a tone that rises, every other second of it silent. */
export const encodeAll = (seconds: number): Promise<ReadonlyMap<string, Buffer>> =>
  inFolder(async (folder) => {
    const tone = `aevalsrc=0.3*sin(2*PI*(300+200*t)*t)*gt(mod(t\\,2)\\,1):s=44100:d=${seconds}`
    const input = ['-nostdin', '-loglevel', 'error', '-f', 'lavfi', '-i', tone]
    const outputs = MADE.flatMap(([name, options]) => ['-ac', '1', ...options.split(' '), path.join(folder, name)])
    await run('/usr/bin/ffmpeg', [...input, ...outputs])
    const files = MADE.map(async ([name]) => [name, await readFile(path.join(folder, name))] as const)
    return new Map(await Promise.all(files))
  })

/** Seconds by ffprobe's count of packets where the container says nothing; `undefined` if it knows nothing either. */
export const probedSeconds = (name: string, bytes: Uint8Array): Promise<number | undefined> =>
  inFolder(async (folder) => {
    const file = path.join(folder, name)
    await writeFile(file, bytes)
    const show = ['-v', 'error', '-show_entries', 'format=duration:packet=pts_time,duration_time', '-of', 'json', file]
    const { stdout } = await run('/usr/bin/ffprobe', show, { maxBuffer: 64 * 1024 * 1024 })
    const told = JSON.parse(stdout) as { format?: { duration?: string }; packets?: Record<string, string>[] }
    if (told.format?.duration) return Number(told.format.duration)
    const last = told.packets?.at(-1)
    return last ? Number(last.pts_time) + Number(last.duration_time ?? 0) : undefined
  })

/** Seconds of sound that come out of it, to a few hundredths; `undefined` if none. */
export const decodedSeconds = (name: string, bytes: Uint8Array): Promise<number | undefined> =>
  inFolder(async (folder) => {
    const file = path.join(folder, name)
    await writeFile(file, bytes)
    const raw = ['-v', 'quiet', '-i', file, '-map', '0:a:0', '-ac', '1', '-ar', '8000', '-f', 's16le', '-']
    const { stdout } = await run('/usr/bin/ffmpeg', ['-nostdin', ...raw], {
      encoding: 'buffer',
      maxBuffer: 64 * 1024 * 1024,
    }).catch((error: { stdout: Buffer }) => error)
    return stdout.length / 16_000 || undefined
  })

/** How phones, recorders and converters write sound: file name, what ffmpeg is told, and what it comes out as. */
export const MADE: readonly (readonly [name: string, options: string, contentType: string])[] = [
  ['16 bits.wav', '-c:a pcm_s16le', 'audio/wav'],
  ['32 bits.wav', '-c:a pcm_s32le', 'audio/wav'],
  ['double.wav', '-c:a pcm_f64le', 'audio/wav'],
  ['8 bits.wav', '-c:a pcm_u8', 'audio/wav'],
  ['24 bits.wav', '-c:a pcm_s24le', 'audio/wav'],
  ['float.wav', '-c:a pcm_f32le', 'audio/wav'],
  ['A-law.wav', '-c:a pcm_alaw', 'audio/wav'],
  ['µ-law.wav', '-c:a pcm_mulaw', 'audio/wav'],
  ['Microsoft ADPCM.wav', '-c:a adpcm_ms', 'audio/wav'],
  ['IMA ADPCM.wav', '-c:a adpcm_ima_wav', 'audio/wav'],
  ['GSM.wav', '-c:a libgsm_ms -ar 8000', 'audio/wav'],
  ['G.726.wav', '-c:a g726 -ar 8000', 'audio/wav'],
  ['G.723.1.wav', '-c:a g723_1 -ar 8000', 'audio/wav'],
  ['MP3.wav', '-c:a libmp3lame', 'audio/wav'],
  ['MP2.wav', '-c:a mp2', 'audio/wav'],
  ['WMA.wav', '-c:a wmav2', 'audio/wav'],
  ['RF64.wav', '-rf64 always', 'audio/wav'],
  ['bext.wav', '-c:a pcm_s16le -metadata title=odd -write_bext 1', 'audio/wav'],
  ['CBR.mp3', '-c:a libmp3lame', 'audio/mpeg'],
  ['VBR.mp3', '-c:a libmp3lame -q:a 5', 'audio/mpeg'],
  ['VBR without Xing.mp3', '-c:a libmp3lame -q:a 5 -write_xing 0', 'audio/mpeg'],
  ['MPEG 2.5.mp3', '-c:a libmp3lame -ar 8000', 'audio/mpeg'],
  ['MPEG 2.mp3', '-c:a libmp3lame -ar 16000', 'audio/mpeg'],
  ['layer II.mp2', '-c:a mp2', 'audio/mpeg'],
  ['AAC.m4a', '-c:a aac', 'audio/mp4'],
  ['ALAC.m4a', '-c:a alac', 'audio/mp4'],
  ['fragments.m4a', '-c:a aac -movflags frag_keyframe+empty_moov -frag_duration 500000', 'audio/mp4'],
  ['fragments by default base.m4a', '-c:a aac -movflags frag_every_frame+empty_moov+default_base_moof', 'audio/mp4'],
  ['DASH.m4a', '-c:a aac -movflags dash+delay_moov -frag_duration 1000000', 'audio/mp4'],
  ['smooth streaming.mp4', '-c:a aac -f ismv', 'audio/mp4'],
  ['Opus.mp4', '-c:a libopus -ar 48000', 'audio/mp4'],
  ['FLAC.mp4', '-c:a flac -strict -2', 'audio/mp4'],
  ['MP3.mp4', '-c:a libmp3lame', 'audio/mp4'],
  ['AC-3.mp4', '-c:a ac3', 'audio/mp4'],
  ['MP2.mp4', '-c:a mp2', 'audio/mp4'],
  ['Vorbis.mp4', '-c:a libvorbis', 'audio/mp4'],
  ['QuickTime PCM.mp4', '-c:a pcm_s16le -f mov', 'audio/mp4'],
  ['QuickTime µ-law.mp4', '-c:a pcm_mulaw -f mov', 'audio/mp4'],
  ['QuickTime A-law.mp4', '-c:a pcm_alaw -f mov', 'audio/mp4'],
  ['QuickTime 24 bits.mp4', '-c:a pcm_s24le -f mov', 'audio/mp4'],
  ['QuickTime 32 bits.mp4', '-c:a pcm_s32le -f mov', 'audio/mp4'],
  ['QuickTime float.mp4', '-c:a pcm_f32le -f mov', 'audio/mp4'],
  ['QuickTime 8 bits.mp4', '-c:a pcm_u8 -f mov', 'audio/mp4'],
  ['QuickTime double.mp4', '-c:a pcm_f64le -f mov', 'audio/mp4'],
  ['QuickTime big-endian.mp4', '-c:a pcm_s16be -f mov', 'audio/mp4'],
  ['QuickTime IMA.mp4', '-c:a adpcm_ima_qt -f mov', 'audio/mp4'],
  ['AAC.3gpp', '-c:a aac -f 3gp', 'audio/3gpp'],
  ['AAC.3ga', '-c:a aac -f 3gp', 'audio/3gpp'],
  ['second generation.3gp', '-c:a aac -f 3g2', 'audio/3gpp2'],
  ['Vorbis.ogg', '-c:a libvorbis', 'audio/ogg'],
  ['Opus.opus', '-c:a libopus -ar 48000', 'audio/ogg'],
  ['small pages.ogg', '-c:a libopus -ar 48000 -page_duration 20000', 'audio/ogg'],
  ['large pages.ogg', '-c:a libvorbis -ar 16000 -b:a 24k -page_duration 10000000', 'audio/ogg'],
  ['Speex.ogg', '-c:a libspeex -ar 8000', 'audio/ogg'],
  ['FLAC.ogg', '-c:a flac', 'audio/ogg'],
  ['Opus.weba', '-c:a libopus -ar 48000 -f webm', 'audio/webm'],
  ['Opus in Matroska, called WebM.webm', '-c:a libopus -ar 48000 -f matroska', 'audio/matroska'],
  ['Vorbis.webm', '-c:a libvorbis', 'audio/webm'],
  ['live.webm', '-c:a libopus -ar 48000 -live 1', 'audio/webm'],
  ['AAC.mka', '-c:a aac', 'audio/matroska'],
  ['FLAC.mka', '-c:a flac', 'audio/matroska'],
  ['µ-law.mka', '-c:a pcm_mulaw', 'audio/matroska'],
  ['A-law.mka', '-c:a pcm_alaw', 'audio/matroska'],
  ['IMA ADPCM.mka', '-c:a adpcm_ima_wav', 'audio/matroska'],
  ['double.mka', '-c:a pcm_f64le', 'audio/matroska'],
  ['big-endian.mka', '-c:a pcm_s16be', 'audio/matroska'],
  ['PCM.mka', '-c:a pcm_s16le', 'audio/matroska'],
  ['float.mka', '-c:a pcm_f32le', 'audio/matroska'],
  ['MP3.mka', '-c:a libmp3lame', 'audio/matroska'],
  ['Opus.mka', '-c:a libopus -ar 48000', 'audio/matroska'],
  ['AC-3.mka', '-c:a ac3', 'audio/matroska'],
  ['MP2.mka', '-c:a mp2', 'audio/matroska'],
  ['live AAC.mka', '-c:a aac -live 1', 'audio/matroska'],
  ['FLAC.flac', '-c:a flac', 'audio/flac'],
  ['PCM.caf', '-c:a pcm_s16le', 'audio/x-caf'],
  ['ALAC.caf', '-c:a alac', 'audio/x-caf'],
  ['IMA.caf', '-c:a adpcm_ima_qt', 'audio/x-caf'],
  ['Opus.caf', '-c:a libopus -ar 48000', 'audio/x-caf'],
  ['PCM.aiff', '-c:a pcm_s16be', 'audio/aiff'],
  ['µ-law.aif', '-c:a pcm_mulaw -f aiff', 'audio/aiff'],
  ['IMA.aiff', '-c:a adpcm_ima_qt', 'audio/aiff'],
  ['PCM.au', '-c:a pcm_s16be', 'audio/basic'],
  ['µ-law.au', '-c:a pcm_mulaw', 'audio/basic'],
  ['version 2.wma', '-c:a wmav2', 'audio/x-ms-wma'],
  ['version 1.wma', '-c:a wmav1', 'audio/x-ms-wma'],
]

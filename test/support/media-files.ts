/** Files as the field sends them, and as nobody honest does: made here, byte by byte. */
import { fixtureBytes } from './fixtures.ts'

export interface MediaFile {
  what: string
  filename: string
  bytes: () => Buffer
  contentType: string
  durationSeconds: number | null
}

const text = (value: string) => Buffer.from(value, 'latin1')
const be32 = (...values: number[]) => {
  const bytes = Buffer.alloc(4 * values.length)
  for (const [i, value] of values.entries()) bytes.writeUInt32BE(value >>> 0, 4 * i)
  return bytes
}
const le32 = (...values: number[]) => be32(...values).swap32()
const times = (count: number, bytes: (i: number) => Buffer) =>
  Buffer.concat(Array.from({ length: count }, (_, i) => bytes(i)))

/** Makes the padding between a tag's or a box's head and what follows. */
export const zeros = (count: number) => Buffer.alloc(count)
/** Bytes that are no sound, the same at every run. */
export const junk = (count: number) =>
  Buffer.from(Array.from({ length: count }, (_, i) => (i * 151 + (i >> 3) * 29) & 0x7f))

// WebM, as a recorder sends it while it records.
const vint = (value: number) => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(BigInt(value) | (1n << 56n))
  return bytes
}
const element = (id: string, ...parts: Buffer[]) => {
  const content = Buffer.concat(parts)
  return Buffer.concat([Buffer.from(id, 'hex'), vint(content.length), content])
}
const endless = (id: string, ...parts: Buffer[]) =>
  Buffer.concat([Buffer.from(`${id}01ffffffffffffff`, 'hex'), ...parts])
const unsigned = (value: number) => Buffer.from(value.toString(16).padStart(value > 255 ? 8 : 2, '0'), 'hex')
const float = (value: number) => {
  const bytes = Buffer.alloc(8)
  bytes.writeDoubleBE(value)
  return bytes
}
const block = (ms: number) => {
  const bytes = Buffer.alloc(64)
  bytes[0] = 0x81
  bytes.writeInt16BE(ms, 1)
  bytes[3] = 0x80
  return element('a3', bytes)
}

/** @param type of its one track: 2 is sound, 17 subtitles */
export const liveWebm = (seconds: number, type = 2) =>
  Buffer.concat([
    element('1a45dfa3', element('4286', unsigned(1)), element('4282', text('webm'))),
    endless(
      '18538067',
      element('1549a966', element('2ad7b1', unsigned(1_000_000))),
      element(
        '1654ae6b',
        element(
          'ae',
          element('d7', unsigned(1)),
          element('83', unsigned(type)),
          element('86', text('A_OPUS')),
          element('e1', element('b5', float(48_000))),
        ),
      ),
      times(seconds, (second) =>
        endless(
          '1f43b675',
          element('e7', unsigned(second * 1000)),
          times(50, (i) => block(i * 20)),
        ),
      ),
    ),
  ])

// Fragmented MP4.
const box = (type: string, ...parts: Buffer[]) => {
  const content = Buffer.concat(parts)
  return Buffer.concat([be32(content.length + 8), text(type), content])
}
const SAMPLES_A_FRAGMENT = 5
const SAMPLE_TICKS = 960
/** Where a fragment's samples have their duration from. */
type Says = 'trun' | 'tfhd' | 'trex'

/** Opus in fragments of a tenth of a second; `mdhd` knows the first one's length alone, as Chromium's recorder writes it. */
export function liveMp4(fragments: number, says: Says = 'trun', { handler = 'soun', told = 329 } = {}) {
  const opus = box(
    'Opus',
    zeros(7),
    Buffer.from([1]),
    zeros(8),
    Buffer.from([0, 1, 0, 16]),
    zeros(4),
    be32(48_000 * 65_536),
    box('dOps', Buffer.from([0, 1, 1, 0x38]), be32(48_000), zeros(3)),
  )
  const tables = [box('stts', be32(0, 0)), box('stsc', be32(0, 0)), box('stsz', be32(0, 0, 0)), box('stco', be32(0, 0))]
  const moov = box(
    'moov',
    box('mvhd', be32(0, 0, 0, 1000, 0, 65_536), zeros(76)),
    box(
      'trak',
      box('tkhd', be32(7, 0, 0, 1, 0, 0), zeros(60)),
      box(
        'mdia',
        box('mdhd', be32(0, 0, 0, 48_000, told, 0x55c40000)),
        box('hdlr', be32(0, 0), text(handler), zeros(13)),
        box('minf', box('smhd', be32(0, 0)), box('stbl', box('stsd', be32(0, 1), opus), ...tables)),
      ),
    ),
    box('mvex', box('trex', be32(0, 1, 1, says === 'trex' ? SAMPLE_TICKS : 0, 0, 0))),
  )
  const samples = times(SAMPLES_A_FRAGMENT, () => (says === 'trun' ? be32(SAMPLE_TICKS, 40) : be32(40)))
  const run = box('trun', be32(says === 'trun' ? 0x301 : 0x201, SAMPLES_A_FRAGMENT, 0), samples)
  const head = says === 'tfhd' ? box('tfhd', be32(0x020008, 1, SAMPLE_TICKS)) : box('tfhd', be32(0x020000, 1))
  const fragment = (i: number) =>
    Buffer.concat([
      box(
        'moof',
        box('mfhd', be32(0, i + 1)),
        box('traf', head, box('tfdt', be32(0, i * SAMPLES_A_FRAGMENT * SAMPLE_TICKS)), run),
      ),
      box('mdat', Buffer.alloc(SAMPLES_A_FRAGMENT * 40, 8)),
    ])
  return Buffer.concat([box('ftyp', text('iso5'), be32(0), text('iso5iso6mp41')), moov, times(fragments, fragment)])
}

/** An M4A with more in its `moov`, at its end, than before: a cover, say. */
function withCover(m4a: Buffer, coverBytes: number): Buffer {
  const at = m4a.indexOf('moov', 0, 'latin1') - 4
  const size = m4a.readUInt32BE(at)
  if (at + size !== m4a.length) throw new Error('its moov is not the end')
  const cover = box('udta', box('meta', be32(0), box('ilst', box('covr', box('data', be32(13, 0), junk(coverBytes))))))
  return Buffer.concat([m4a.subarray(0, at), box('moov', m4a.subarray(at + 8), cover)])
}

// MP3, ID3, FLAC, Ogg.
/** A frame of MPEG 1 layer III at 44.1 kHz. */
const mp3Frame = (bitrateIndex: number, bytes: number) => {
  const frame = Buffer.alloc(bytes)
  frame.set([0xff, 0xfb, bitrateIndex << 4, 0x64])
  return frame
}
const QUIET = mp3Frame(1, 104)
const LOUD = mp3Frame(9, 417)
const FRAME_SECONDS = 1152 / 44_100

const syncsafe = (value: number) => Buffer.from([21, 14, 7, 0].map((shift) => (value >> shift) & 127))
export const id3 = (content: Buffer) => Buffer.concat([text('ID3\x04\0\0'), syncsafe(content.length), content])
const id3Frame = (id: string, content: Buffer) => Buffer.concat([text(id), syncsafe(content.length), zeros(2), content])

const flacBlock = (type: number, content: Buffer) => {
  const head = be32(content.length)
  head[0] = type
  return Buffer.concat([head, content])
}
/** RFC 9639 §8.8 */
const picture = (bytes: number) =>
  Buffer.concat([be32(3, 9), text('image/png'), be32(0, 1, 1, 24, 0, bytes), junk(bytes)])
/** With another block behind its first. */
function withFlacBlock(flac: Buffer, more: Buffer): Buffer {
  const first = Buffer.from(flac.subarray(0, 42))
  first[4] = 0
  return Buffer.concat([first, more, flac.subarray(42)])
}

function oggPage(type: number, granule: number, sequence: number, segments: number[], content: Buffer): Buffer {
  const head = Buffer.alloc(27)
  head.write('OggS')
  head[5] = type
  head.writeBigInt64LE(BigInt(granule), 6)
  head.writeUInt32LE(7, 14)
  head.writeUInt32LE(sequence, 18)
  head[26] = segments.length
  return Buffer.concat([head, Buffer.from(segments), content])
}
const comments = (count: number) =>
  Buffer.concat([
    le32(0, count),
    ...Array.from({ length: count }, (_, i) => text(`GENRE=${i.toString(36)}`)).flatMap((entry) => [
      le32(entry.length),
      entry,
    ]),
  ])

/** Ogg Opus of `packets` times 20 ms, with that many comments. */
function opus(packets: number, commentCount: number): Buffer {
  const head = Buffer.concat([text('OpusHead'), Buffer.from([1, 1, 0x38, 1, 0x80, 0xbb, 0, 0, 0, 0, 0])])
  const tags = Buffer.concat([text('OpusTags'), comments(commentCount)])
  const pages = [oggPage(2, 0, 0, [head.length], head)]
  for (let at = 0; at < tags.length; ) {
    const bytes = Math.min(255 * 255, tags.length - at)
    const isLast = at + bytes >= tags.length
    const segments = [...Array(Math.floor(bytes / 255)).fill(255), ...(isLast ? [bytes % 255] : [])]
    pages.push(oggPage(at > 0 ? 1 : 0, 0, pages.length, segments, tags.subarray(at, at + bytes)))
    at += bytes
  }
  for (let i = 1; i <= packets; i++) {
    pages.push(oggPage(i === packets ? 4 : 0, i * 960 + 312, pages.length, [40], Buffer.alloc(40, 8)))
  }
  return Buffer.concat(pages)
}

// WAVE.
const chunk = (id: string, content: Buffer, told = content.length) => Buffer.concat([text(id), le32(told), content])
const format = (
  tag: number,
  rate: number,
  bytesPerSecond: number,
  blockBytes: number,
  bits: number,
  ...more: number[]
) => {
  const bytes = Buffer.alloc(16 + 2 * more.length)
  bytes.writeUInt16LE(tag, 0)
  bytes.writeUInt16LE(1, 2)
  bytes.writeUInt32LE(rate, 4)
  bytes.writeUInt32LE(bytesPerSecond, 8)
  bytes.writeUInt16LE(blockBytes, 12)
  bytes.writeUInt16LE(bits, 14)
  for (const [i, value] of more.entries()) bytes.writeUInt16LE(value, 16 + 2 * i)
  return chunk('fmt ', bytes)
}
const PCM = format(1, 8000, 16_000, 2, 16)
const riff = (...chunks: Buffer[]) => chunk('RIFF', Buffer.concat([text('WAVE'), ...chunks]))
/** More than 4 GiB may follow: lengths stand in `ds64`. */
const longRiff = (id: string, dataBytes: number) =>
  Buffer.concat([
    text(id),
    le32(0xffffffff),
    text('WAVE'),
    chunk('ds64', le32(dataBytes + 72, 0, dataBytes, 0, dataBytes / 2, 0, 0)),
    PCM,
    chunk('data', zeros(dataBytes), 0xffffffff),
  ])

const file = (
  what: string,
  filename: string,
  contentType: string,
  durationSeconds: number | null,
  bytes: () => Buffer,
): MediaFile => ({
  what,
  filename,
  contentType,
  durationSeconds,
  bytes,
})
const MIB = 1024 * 1024
const tone = fixtureBytes

/** Files of which something wrong is easily told. */
export const ODD: readonly MediaFile[] = [
  file('WebM in slices, all sizes unknown', 'call.webm', 'audio/webm', 30, () => liveWebm(30)),
  file('fragmented MP4 whose mdhd knows the first fragment', 'call.m4a', 'audio/mp4', 10, () => liveMp4(100)),
  file('fragmented MP4 whose mdhd knows nothing', 'call.m4a', 'audio/mp4', 10, () => liveMp4(100, 'trun', { told: 0 })),
  file('fragmented MP4 with its samples’ duration in trex', 'call.m4a', 'audio/mp4', 10, () => liveMp4(100, 'trex')),
  file('fragmented MP4 with its samples’ duration in tfhd', 'call.m4a', 'audio/mp4', 10, () => liveMp4(100, 'tfhd')),
  file('an M4A with a cover of 12 MB', 'call.m4a', 'audio/mp4', 2.4, () => withCover(tone('tone.m4a'), 12 * MIB)),
  file('MP3 without Xing that begins with silence', 'call.mp3', 'audio/mpeg', 1000 * FRAME_SECONDS, () =>
    Buffer.concat([...Array(200).fill(QUIET), ...Array(800).fill(LOUD)]),
  ),
  file('MP3 behind a tag with a cover of 12 MB', 'call.mp3', 'audio/mpeg', 2.45, () =>
    Buffer.concat([id3(id3Frame('APIC', junk(12 * MIB))), tone('tone.mp3')]),
  ),
  file('MP3 with Xing, put behind itself', 'call.mp3', 'audio/mpeg', 4.9, () =>
    Buffer.concat([tone('tone-id3.mp3'), tone('tone-id3.mp3')]),
  ),
  file('MP3 behind half a MiB of zeros and a tag', 'call.mp3', 'audio/mpeg', 2.45, () =>
    Buffer.concat([zeros(MIB / 2), id3(zeros(300)), tone('tone.mp3')]),
  ),
  file('MP3 behind 1 MiB of zeros', 'call.mp3', 'audio/mpeg', 2.45, () =>
    Buffer.concat([zeros(MIB), tone('tone.mp3')]),
  ),
  file('AAC behind 1 MiB of zeros', 'call.aac', 'audio/aac', 2.41, () => Buffer.concat([zeros(MIB), tone('tone.aac')])),
  file('M4A behind 1 MiB of zeros', 'call.m4a', 'audio/mp4', 2.4, () => Buffer.concat([zeros(MIB), tone('tone.m4a')])),
  file('WAVE behind some zeros', 'call.wav', 'audio/wav', 2.4, () => Buffer.concat([zeros(5000), tone('tone.wav')])),
  file('AAC behind two tags', 'call.aac', 'audio/aac', 2.41, () =>
    Buffer.concat([id3(zeros(5000)), id3(junk(50)), tone('tone.aac')]),
  ),
  file('FLAC behind a tag', 'call.flac', 'audio/flac', 2.4, () => Buffer.concat([id3(zeros(5000)), tone('tone.flac')])),
  file('FLAC with a cover of 12 MB', 'call.flac', 'audio/flac', 2.4, () =>
    withFlacBlock(tone('tone.flac'), flacBlock(6, picture(12 * MIB))),
  ),
  file('FLAC that never learnt its length', 'call.flac', 'audio/flac', 2.4, () => {
    const flac = Buffer.from(tone('tone.flac'))
    flac.fill(0, 22, 26)
    return flac
  }),
  file('a chain of Ogg with one number', 'call.ogg', 'audio/ogg', 4.8, () =>
    Buffer.concat([tone('tone.opus'), tone('tone.opus')]),
  ),
  file('a chain of Ogg of two codecs', 'call.ogg', 'audio/ogg', 7.2, () =>
    Buffer.concat([tone('tone.opus'), tone('tone-vorbis.ogg'), tone('tone-opus.ogg')]),
  ),
  file('PCM whose fact counts bytes', 'call.wav', 'audio/wav', 22, () =>
    riff(PCM, chunk('fact', le32(352_000)), chunk('data', zeros(352_000))),
  ),
  file('RF64', 'call.wav', 'audio/wav', 2, () => longRiff('RF64', 32_000)),
  file('BW64', 'call.wav', 'audio/wav', 2, () => longRiff('BW64', 32_000)),
  file('an odd chunk with its padding', 'call.wav', 'audio/wav', 2, () =>
    riff(chunk('LIST', text('INFOabc')), zeros(1), PCM, chunk('data', zeros(32_000))),
  ),
  file('an odd chunk without its padding', 'call.wav', 'audio/wav', 2, () =>
    riff(chunk('LIST', text('INFOabc')), PCM, chunk('bext', junk(601)), chunk('data', zeros(32_000))),
  ),
  file('IMA ADPCM without fact', 'call.wav', 'audio/wav', 10, () =>
    riff(format(0x11, 8000, 4055, 256, 4, 2, 505), chunk('data', Buffer.alloc(256 * 159, 1))),
  ),
  file('GSM without fact', 'call.wav', 'audio/wav', 10, () =>
    riff(format(0x31, 8000, 1625, 65, 0, 2, 320), chunk('data', Buffer.alloc(65 * 250, 0xd2))),
  ),
  file('G.726 without fact', 'call.wav', 'audio/wav', 10, () =>
    riff(format(0x45, 8000, 4000, 1, 4), chunk('data', Buffer.alloc(40_000, 1))),
  ),
  file('AMR wide band', 'call.awb', 'audio/amr-wb', 10, () =>
    Buffer.concat([text('#!AMR-WB\n'), ...Array(500).fill(Buffer.from([0x1c, ...junk(36)]))]),
  ),
  file('AMR before room that nobody wrote to', 'call.amr', 'audio/amr', 2.4, () =>
    Buffer.concat([tone('tone.amr'), zeros(50_000)]),
  ),
]

const PRIVATE = id3Frame('PRIV', Buffer.from([65, 0, 0]))

/** Files of tags that keep a parser of tags busy. */
export const BUSY: readonly MediaFile[] = [
  file('50,000 genres in one frame', 'call.mp3', 'audio/mpeg', 400 * FRAME_SECONDS, () =>
    Buffer.concat([
      id3(id3Frame('TCON', text(`\x03${Array.from({ length: 50_000 }, (_, i) => `g${i.toString(36)}`).join('\0')}`))),
      ...Array(400).fill(LOUD),
    ]),
  ),
  file('600,000 private frames', 'call.mp3', 'audio/mpeg', 400 * FRAME_SECONDS, () =>
    Buffer.concat([id3(times(600_000, () => PRIVATE)), ...Array(400).fill(LOUD)]),
  ),
  file('50,000 comments in FLAC', 'call.flac', 'audio/flac', 2.4, () =>
    withFlacBlock(tone('tone.flac'), flacBlock(4, comments(50_000))),
  ),
  file('50,000 comments in Ogg Opus', 'call.opus', 'audio/ogg', 10, () => opus(500, 50_000)),
  file('50,000 entries of RIFF INFO', 'call.wav', 'audio/wav', 2, () =>
    riff(
      chunk('LIST', Buffer.concat([text('INFO'), times(50_000, () => chunk('IGNR', text('ab')))])),
      PCM,
      chunk('data', zeros(32_000)),
    ),
  ),
  file('300,000 boxes, each inside the one before', 'call.m4a', 'audio/mp4', null, () =>
    Buffer.concat([
      box('ftyp', text('M4A '), be32(0), text('isomM4A ')),
      times(300_000, (i) => Buffer.concat([be32((300_000 - i) * 8), text('moov')])),
    ]),
  ),
]

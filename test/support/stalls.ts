/**
 * Small files that keep a parser of media busy for seconds or for ever: each a kind of its own, tag-heavy or nested. What
 * follows the tags is sound of its type where the kind allows it.
 */
import { fixtureBytes } from './fixtures.ts'

export interface Stall {
  name: string
  filename: string
  /** What the first bytes show. */
  contentType: string
  /** Where leaving the tags out is all that it takes to tell it. */
  durationSeconds?: number
  bytes(): Buffer
}

const COUNT = 50_000
const words = (prefix: string, count = COUNT) => Array.from({ length: count }, (_, i) => prefix + i.toString(36))

const int = (value: number, write: 'writeUInt32LE' | 'writeUInt32BE') => {
  const bytes = Buffer.alloc(4)
  bytes[write](value, 0)
  return bytes
}
const u32le = (value: number) => int(value, 'writeUInt32LE')
const u32be = (value: number) => int(value, 'writeUInt32BE')
const latin1 = (text: string) => Buffer.from(text, 'latin1')

const syncsafe = (n: number) => Buffer.from([(n >> 21) & 127, (n >> 14) & 127, (n >> 7) & 127, n & 127])
const id3Frame = (id: string, value: Buffer) =>
  Buffer.concat([latin1(id), syncsafe(value.length), Buffer.alloc(2), value])
const id3 = (...frames: Buffer[]) => {
  const body = Buffer.concat(frames)
  return Buffer.concat([latin1('ID3\x04\0\0'), syncsafe(body.length), body])
}
const textFrame = (id: string, values: string[]) => id3Frame(id, Buffer.from(`\x03${values.join('\0')}`))

/** Silent MPEG frames. */
function mp3Frames(count = 400): Buffer {
  const frame = Buffer.alloc(417)
  frame.set([0xff, 0xfb, 0x90, 0x64])
  return Buffer.concat(Array(count).fill(frame))
}

const vorbisComments = (values: string[], told = values.length) =>
  Buffer.concat([u32le(0), u32le(told), ...values.flatMap((value) => [u32le(value.length), latin1(value)])])

function flac(comments: Buffer): Buffer {
  const head = (type: number, length: number) =>
    Buffer.from([type, (length >> 16) & 255, (length >> 8) & 255, length & 255])
  const info = Buffer.alloc(34)
  info.writeUInt16BE(4096, 0)
  info.writeUInt16BE(4096, 2)
  info.set([0x01, 0xf4, 0x00, 0xf0, 0, 1, 0x38, 0x80], 10)
  return Buffer.concat([latin1('fLaC'), head(0, 34), info, head(0x84, comments.length), comments, Buffer.alloc(5000)])
}

const lacing = (bytes: number) => [...Array<number>(Math.floor(bytes / 255)).fill(255), bytes % 255]

/** Packets of a logical stream, each on pages of its own. */
function ogg(packets: Buffer[], audioPages = 500): Buffer {
  const pages: Buffer[] = []
  const page = (type: number, granule: number, segments: number[], body: Buffer) => {
    const head = Buffer.alloc(27)
    head.write('OggS', 'latin1')
    head[5] = type
    head.writeBigInt64LE(BigInt(granule), 6)
    head.writeUInt32LE(7, 14)
    head.writeUInt32LE(pages.length, 18)
    head[26] = segments.length
    pages.push(Buffer.concat([head, Buffer.from(segments), body]))
  }
  for (const [index, packet] of packets.entries()) {
    const most = 255 * 255
    for (let at = 0; at < packet.length; at += most) {
      const body = packet.subarray(at, at + most)
      const type = index === 0 ? 2 : at === 0 ? 0 : 1
      page(type, 0, at + most >= packet.length ? lacing(body.length) : Array(255).fill(255), body)
    }
  }
  for (let i = 0; i < audioPages; i++) {
    page(i === audioPages - 1 ? 4 : 0, (i + 1) * 960 + 312, [40], Buffer.alloc(40, 8))
  }
  return Buffer.concat(pages)
}

const opusHead = Buffer.concat([latin1('OpusHead'), Buffer.from([1, 1, 0x38, 1, 0x80, 0xbb, 0, 0, 0, 0, 0])])

const riffChunk = (id: string, body: Buffer) =>
  Buffer.concat([latin1(id), u32le(body.length), body, Buffer.alloc(body.length % 2)])
/** Of compressed sound: plain PCM is told from its first 44 bytes. */
function wave(...chunks: Buffer[]): Buffer {
  const format = Buffer.from('11000100401f0000d70f00004100040002004001', 'hex') // IMA ADPCM, 8 kHz
  const body = Buffer.concat([
    latin1('WAVE'),
    riffChunk('fmt ', format),
    ...chunks,
    riffChunk('data', Buffer.alloc(8_120)),
  ])
  return riffChunk('RIFF', body)
}

const box = (type: string, ...bodies: Buffer[]) => {
  const body = Buffer.concat(bodies)
  return Buffer.concat([u32be(body.length + 8), latin1(type), body])
}
const ftyp = box('ftyp', latin1('M4A \0\0\0\0isomM4A '))

/** The fixture, its index grown by `more`. */
function m4aWith(more: Buffer): Buffer {
  const whole = fixtureBytes('tone.m4a')
  const at = whole.indexOf('moov', 0, 'latin1') - 4
  const size = whole.readUInt32BE(at)
  return Buffer.concat([whole.subarray(0, at), u32be(size + more.length), whole.subarray(at + 4, at + size), more])
}

/** EBML with sizes of eight octets. */
const element = (id: string, ...bodies: Buffer[]) => {
  const body = Buffer.concat(bodies)
  const size = Buffer.alloc(8)
  size.writeBigUInt64BE(BigInt(body.length) | (1n << 56n))
  return Buffer.concat([Buffer.from(id, 'hex'), size, body])
}
const ebmlHead = element('1a45dfa3', element('4282', latin1('webm')))

const nested = (count: number, bytesEach: number, write: (at: Buffer, inside: number) => void) => {
  const bytes = Buffer.alloc(count * bytesEach)
  for (let i = 0; i < count; i++) write(bytes.subarray(i * bytesEach), (count - i) * bytesEach)
  return bytes
}

const stall = (
  name: string,
  filename: string,
  contentType: string,
  bytes: () => Buffer,
  durationSeconds?: number,
): Stall => ({
  name,
  filename,
  contentType,
  bytes,
  ...(durationSeconds !== undefined && { durationSeconds }),
})

export const STALLS: readonly Stall[] = [
  stall(
    '50,000 genres in one ID3 frame',
    'call.mp3',
    'audio/mpeg',
    () => Buffer.concat([id3(textFrame('TCON', words('g'))), mp3Frames()]),
    10.449,
  ),
  stall(
    '50,000 composers in one ID3 frame',
    'call.mp3',
    'audio/mpeg',
    () => Buffer.concat([id3(textFrame('TCOM', words('g'))), mp3Frames()]),
    10.449,
  ),
  stall(
    '50,000 artists in one ID3 frame',
    'call.mp3',
    'audio/mpeg',
    () => Buffer.concat([id3(textFrame('TPE1', words('g'))), mp3Frames()]),
    10.449,
  ),
  stall(
    '600,000 private ID3 frames',
    'call.mp3',
    'audio/mpeg',
    () => {
      const one = id3Frame('PRIV', Buffer.from([65, 0, 0]))
      return Buffer.concat([id3(Buffer.concat(Array(600_000).fill(one))), mp3Frames()])
    },
    10.449,
  ),
  stall('10,000 ID3 tags in a row', 'call.mp3', 'audio/mpeg', () =>
    Buffer.concat([...Array<Buffer>(10_000).fill(id3(textFrame('TCOM', words('g', 5)))), mp3Frames()]),
  ),
  stall('an ID3 tag that is longer than the file', 'call.mp3', 'audio/mpeg', () => {
    const whole = Buffer.concat([id3(textFrame('TCON', words('g'))), mp3Frames()])
    syncsafe(200 * 2 ** 20).copy(whole, 6)
    return whole
  }),
  stall('50,000 comments in FLAC', 'call.flac', 'audio/flac', () => flac(vorbisComments(words('GENRE=')))),
  stall('30 million comments told of and none there in FLAC', 'call.flac', 'audio/flac', () =>
    flac(vorbisComments([], 30_000_000)),
  ),
  stall(
    '50,000 comments in Opus',
    'call.opus',
    'audio/ogg',
    () => ogg([opusHead, Buffer.concat([latin1('OpusTags'), vorbisComments(words('GENRE='))])]),
    10,
  ),
  stall('half a million empty comments in Opus', 'call.opus', 'audio/ogg', () =>
    ogg([opusHead, Buffer.concat([latin1('OpusTags'), vorbisComments(Array(500_000).fill(''))])]),
  ),
  stall('a packet of comments on 4,000 pages of Ogg', 'call.opus', 'audio/ogg', () =>
    ogg([opusHead, ...Array<Buffer>(4_000).fill(Buffer.concat([latin1('OpusTags'), Buffer.alloc(600, 1)]))]),
  ),
  stall('50,000 entries of RIFF INFO', 'call.wav', 'audio/wav', () =>
    wave(
      riffChunk('LIST', Buffer.concat([latin1('INFO'), ...words('g').map((word) => riffChunk('IGNR', latin1(word)))])),
    ),
  ),
  stall('50,000 genres in an ID3 chunk of a WAVE file', 'call.wav', 'audio/wav', () =>
    wave(riffChunk('id3 ', id3(textFrame('TCON', words('g'))))),
  ),
  stall('200,000 empty chunks in a WAVE file', 'call.wav', 'audio/wav', () =>
    wave(Buffer.concat(Array(200_000).fill(riffChunk('junk', Buffer.alloc(0))))),
  ),
  stall('300,000 boxes, each inside the one before', 'call.m4a', 'audio/mp4', () => {
    const boxes = nested(300_000, 8, (at, inside) => {
      at.writeUInt32BE(inside)
      at.write('moov', 4, 'latin1')
    })
    return Buffer.concat([ftyp, boxes])
  }),
  stall('50,000 genres in an MP4 item list', 'call.m4a', 'audio/mp4', () => {
    const data = (word: string) => box('\xa9gen', box('data', u32be(1), u32be(0), latin1(word)))
    return m4aWith(box('udta', box('meta', u32be(0), box('ilst', ...words('g').map(data)))))
  }),
  stall('200,000 tracks in an MP4 index', 'call.m4a', 'audio/mp4', () =>
    m4aWith(Buffer.concat(Array(200_000).fill(box('trak')))),
  ),
  stall('50,000 tags in WebM', 'call.webm', 'audio/webm', () => {
    const tag = (word: string) =>
      element('7373', element('67c8', element('45a3', latin1('GENRE')), element('4487', latin1(word))))
    return Buffer.concat([ebmlHead, element('18538067', element('1254c367', ...words('g').map(tag)))])
  }),
  stall('100,000 WebM elements, each inside the one before', 'call.webm', 'audio/webm', () => {
    const bytes = nested(100_000, 12, (at, inside) => {
      at.writeUInt32BE(0x18538067)
      at.writeBigUInt64BE(BigInt(inside - 12) | (1n << 56n), 4)
    })
    return Buffer.concat([ebmlHead, bytes])
  }),
]

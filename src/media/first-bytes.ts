/**
 * The media type that a file's first few bytes stand for, by a table and nothing else: for files that nobody could look
 * into in time. Takes the same few steps whatever the bytes are.
 */

/** Where the sign stands, the sign, and what it stands for; the first that fits counts. */
const SIGNS: readonly (readonly [at: number, sign: string, type: string])[] = [
  [8, 'WAVE', 'audio/wav'],
  [0, 'OggS', 'audio/ogg'],
  [0, 'fLaC', 'audio/flac'],
  [0, '#!AMR', 'audio/amr'],
  [0, 'ID3', 'audio/mpeg'],
  [0, '\x1aE\xdf\xa3', 'audio/webm'],
  [4, 'ftyp3g', 'audio/3gpp'],
  [4, 'ftyp', 'audio/mp4'],
]

export function typeByFirstBytes(head: Uint8Array): string | undefined {
  const text = Buffer.from(head.buffer, head.byteOffset, Math.min(head.length, 16)).toString('latin1')
  const found = SIGNS.find(([at, sign]) => text.startsWith(sign, at))
  if (found) return found[2]
  // ISO/IEC 11172-3 §2.4.2.3 and 14496-3 §1.A.3.2: the same eleven or twelve ones; the layer bits of ADTS are 0.
  const [first = 0, second = 0] = head
  if (first !== 0xff || (second & 0xe0) !== 0xe0) return undefined
  if ((second & 0xf6) === 0xf0) return 'audio/aac'
  return (second & 0x06) === 0 ? undefined : 'audio/mpeg'
}

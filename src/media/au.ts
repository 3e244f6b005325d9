/** Sun's AU: a head of 24 bytes and the sound. */
import type { Found } from './found.ts'
import type { Pages } from './pages.ts'

const UNKNOWN = 0xffffffff
const BITS_BY_ENCODING: Readonly<Record<number, number>> = {
  1: 8, // µ-law
  2: 8,
  3: 16,
  4: 24,
  5: 32,
  6: 32, // float
  7: 64, // double
  23: 4, // G.721
  25: 3, // G.723
  26: 5, // G.723
  27: 8, // A-law
}

export async function inspectAu(file: Pages, start: number): Promise<Found | undefined> {
  const head = await file.exactly(start, 24)
  if (!head) return undefined
  const [offset, told, encoding] = [head.readUInt32BE(4), head.readUInt32BE(8), head.readUInt32BE(12)]
  const there = file.size - start - offset
  if (offset < 24 || there < 0) return undefined
  const bytes = told === UNKNOWN || told === 0 ? there : Math.min(told, there)
  const bits = BITS_BY_ENCODING[encoding]
  const bitsPerSecond = (bits ?? 0) * head.readUInt32BE(16) * head.readUInt32BE(20)
  return {
    contentType: 'audio/basic',
    codec: bits === undefined ? 'other' : 'pcm',
    seconds: bitsPerSecond > 0 ? (bytes * 8) / bitsPerSecond : undefined,
  }
}

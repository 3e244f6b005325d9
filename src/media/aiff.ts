/** AIFF and AIFF-C. */
import type { Found } from './found.ts'
import { type Pages, textAt } from './pages.ts'

const MAX_CHUNKS = 10_000
/** Bits of a sample by compression type; `undefined` for codecs whose count of samples alone can tell. */
const BITS_BY_COMPRESSION: Readonly<Record<string, number>> = {
  ulaw: 8,
  ULAW: 8,
  alaw: 8,
  ALAW: 8,
  fl32: 32,
  FL32: 32,
  fl64: 64,
  FL64: 64,
  in24: 24,
  in32: 32,
  'raw ': 8,
}
const IMA4_BLOCK = { bytes: 34, samples: 64 }

interface Common {
  channels: number
  samples: number
  bits: number
  rate: number
  compression: string
}

export async function inspectAiff(file: Pages, start: number): Promise<Found | undefined> {
  let common: Common | undefined
  let sound: { told: number; there: number } | undefined
  let at = start + 12
  for (let count = 0; count < MAX_CHUNKS && !(common && sound); count++) {
    const head = await file.exactly(at, 8)
    if (!head) break
    const id = textAt(head, 0, 4)
    const told = head.readUInt32BE(4)
    if (id === 'COMM') common = commonOf(await file.at(at + 8, Math.min(told, 22)), told)
    // Offset and block size, 8 bytes, stand ahead of the samples.
    if (id === 'SSND') sound = { told: told - 8, there: Math.min(told, file.size - at - 8) - 8 }
    at += 8 + told + (told % 2)
  }
  if (!common || !sound) return undefined
  return { contentType: 'audio/aiff', codec: 'other', seconds: secondsOf(common, sound) }
}

function commonOf(bytes: Buffer, told: number): Common | undefined {
  if (told < 18 || bytes.length < 18) return undefined
  return {
    channels: bytes.readUInt16BE(0),
    samples: bytes.readUInt32BE(2),
    bits: bytes.readUInt16BE(6),
    // IEEE 754 extended: 15 bits of exponent, 64 of mantissa.
    rate: Number(bytes.readBigUInt64BE(10)) * 2 ** ((bytes.readUInt16BE(8) & 0x7fff) - 16_383 - 63),
    compression: told >= 22 && bytes.length >= 22 ? textAt(bytes, 18, 4) : 'NONE',
  }
}

function secondsOf(common: Common, { told, there }: { told: number; there: number }): number | undefined {
  const { channels, samples, rate, compression } = common
  if (channels === 0 || !(rate >= 1) || there <= 0) return undefined
  if (compression === 'ima4') {
    return (Math.floor(there / IMA4_BLOCK.bytes / channels) * IMA4_BLOCK.samples) / rate
  }
  const isPlain = ['NONE', 'sowt', 'twos'].includes(compression)
  const bits = isPlain ? Math.ceil(common.bits / 8) * 8 : BITS_BY_COMPRESSION[compression]
  if (bits) {
    const samplesThere = (there * 8) / bits / channels
    return (samples === 0 ? samplesThere : Math.min(samples, samplesThere)) / rate
  }
  return there >= told * 0.99 ? samples / rate : undefined
}

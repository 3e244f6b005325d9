/** Apple's Core Audio Format. */
import type { Found } from './found.ts'
import { type Pages, textAt } from './pages.ts'

const MAX_CHUNKS = 10_000

interface Description {
  rate: number
  codec: string
  /** 0 where packets differ. */
  bytesPerPacket: number
  samplesPerPacket: number
}

export async function inspectCaf(file: Pages, start: number): Promise<Found | undefined> {
  let description: Description | undefined
  /** Samples of a channel, by the packet table. */
  let samples: number | undefined
  let data: { bytes: number; isWhole: boolean } | undefined
  let at = start + 8
  for (let count = 0; count < MAX_CHUNKS; count++) {
    const head = await file.exactly(at, 12)
    if (!head) break
    const id = textAt(head, 0, 4)
    const told = Number(head.readBigInt64BE(4))
    if (told < 0 && !(id === 'data' && told === -1)) break
    const there = Math.min(told < 0 ? Number.POSITIVE_INFINITY : told, file.size - at - 12)
    if (id === 'desc') description = descriptionOf(await file.exactly(at + 12, 32))
    if (id === 'pakt') samples = Number((await file.exactly(at + 20, 8))?.readBigInt64BE() ?? 0)
    if (id === 'data') data ??= { bytes: there - 4, isWhole: there === told || told === -1 }
    at += 12 + there
  }
  if (!description || !data) return undefined
  return { contentType: 'audio/x-caf', codec: description.codec, seconds: secondsOf(description, samples, data) }
}

function descriptionOf(bytes: Buffer | undefined): Description | undefined {
  if (!bytes) return undefined
  return {
    rate: bytes.readDoubleBE(0),
    codec: textAt(bytes, 8, 4),
    bytesPerPacket: bytes.readUInt32BE(16),
    samplesPerPacket: bytes.readUInt32BE(20),
  }
}

function secondsOf(
  { rate, bytesPerPacket, samplesPerPacket }: Description,
  samples: number | undefined,
  data: { bytes: number; isWhole: boolean },
): number | undefined {
  if (!(rate >= 1)) return undefined
  if (bytesPerPacket > 0) return (Math.floor(data.bytes / bytesPerPacket) * samplesPerPacket) / rate
  return samples !== undefined && data.isWhole ? samples / rate : undefined
}

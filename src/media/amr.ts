/** AMR as phones record it, narrow and wide band (RFC 4867 §5). */
import type { Found } from './found.ts'
import { type FrameKind, framesBeginAt, secondsOfFrames } from './frames.ts'
import type { Pages } from './pages.ts'

const NARROW_MAGIC = '#!AMR\n'
const WIDE_MAGIC = '#!AMR-WB\n'
/** Bytes of a frame by its type, header included: RFC 4867 §5.3 with 3GPP TS 26.101 and 26.201. */
const NARROW_FRAME_BYTES = [13, 14, 16, 18, 20, 21, 27, 32, 6, 0, 0, 0, 0, 0, 0, 1]
const WIDE_FRAME_BYTES = [18, 24, 33, 37, 41, 47, 51, 59, 61, 6, 0, 0, 0, 0, 1, 1]

const framesOf = (frameBytes: readonly number[]): FrameKind => ({
  headerBytes: 1,
  maxFrameBytes: 61,
  proof: 8, // a header is one byte, and one of fourteen could be one
  lengthAt(bytes, at) {
    const header = bytes[at] ?? 0xff
    if ((header & 0x83) !== 0) return 0 // padding
    const length = frameBytes[(header >> 3) & 15] ?? 0
    if (header !== 0) return length
    // The lowest mode, marked as damaged. If it is zeros throughout it is no frame, but room that was never written to.
    for (let i = at; i < at + length; i++) if (bytes[i] !== 0) return length
    return 0
  },
  secondsAt: () => 0.02,
  isAlike: () => true,
})

export async function inspectAmr(file: Pages, start: number): Promise<Found | undefined> {
  const head = await file.at(start, 1300)
  const isWide = head.toString('latin1', 0, WIDE_MAGIC.length) === WIDE_MAGIC
  const from = isWide ? WIDE_MAGIC.length : NARROW_MAGIC.length
  const kind = framesOf(isWide ? WIDE_FRAME_BYTES : NARROW_FRAME_BYTES)
  if (!framesBeginAt(head, from, kind, 2, start + head.length >= file.size)) return undefined
  return {
    contentType: isWide ? 'audio/amr-wb' : 'audio/amr',
    codec: isWide ? 'amr-wb' : 'amr',
    seconds: await secondsOfFrames(file, start + from, file.size, kind),
  }
}

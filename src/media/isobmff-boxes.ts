/** The boxes that an ISO base media file is made of (ISO/IEC 14496-12 §4.2). */
import { type Pages, textAt } from './pages.ts'

export interface Box {
  type: string
  /** Where its content begins. */
  start: number
  /** Where it ends, or the file, or the box that it stands in, if that is earlier. */
  end: number
  /** It says to go on beyond `end`, or that it ends with the file. */
  isCut: boolean
}

/** Boxes one after another; ends where none is. */
export async function* boxesOf(file: Pages, from: number, to: number): AsyncGenerator<Box> {
  let at = from
  while (at + 8 <= to) {
    const head = await file.at(at, 16)
    if (head.length < 8) return
    const type = textAt(head, 4, 4)
    let size = head.readUInt32BE(0)
    let headBytes = 8
    if (size === 1 && head.length >= 16) {
      size = Number(head.readBigUInt64BE(8))
      headBytes = 16
    }
    if (size === 0) size = Number.POSITIVE_INFINITY
    else if (size < headBytes) return
    yield { type, start: at + headBytes, end: Math.min(at + size, to), isCut: at + size > to }
    at += size
  }
}

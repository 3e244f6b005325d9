/**
 * Base64 as clients make it (RFC 4648 §4, §5), decoded strictly and in place.
 *
 * Taken: the standard or the URL-safe alphabet, with padding or without, with line breaks anywhere. All else is refused,
 * since Node's own decoder skips what it does not know and stops at a `=`: a spoilt chunk would become a shorter one.
 */
import { ServiceError } from '../../errors.ts'
import { firstOf, type Pass, SLICE_BYTES } from './passes.ts'

/** Characters turned at once: short enough for a string that dies young, a multiple of four. */
const PIECE = 16_384

const LF = 0x0a
const CR = 0x0d
const PAD = 0x3d

const refused = () =>
  new ServiceError('invalid_parameter', 'The parameter chunk is not valid Base64; nothing of it was stored.')

/** Moves what is no line break together; gives the new end of what was moved. */
function closeUp(text: Buffer, from: number, until: number, to: number): number {
  for (let at = from; at < until; at++) {
    const byte = text[at] as number
    if (byte !== LF && byte !== CR) text[to++] = byte
  }
  return to
}

/** Moves the bytes of `buffer` together so that no line break is left among them; gives the new end. */
function* withoutLineBreaks(buffer: Buffer, start: number, end: number): Pass<number> {
  const text = buffer.subarray(start, end)
  let to = firstOf(text, LF, CR)
  for (let from = to; from < text.length; from += SLICE_BYTES) {
    to = closeUp(text, from, Math.min(from + SLICE_BYTES, text.length), to)
    if (from + SLICE_BYTES < text.length) yield
  }
  return start + to
}

const has = (text: Buffer, character: string) => text.indexOf(character.charCodeAt(0)) >= 0

/** Bits of the last character that no byte takes; every encoder leaves them 0, a cut text seldom does. */
function assertNothingCut(last: number, characters: number): void {
  const unused = characters % 4 === 2 ? 0b1111 : characters % 4 === 3 ? 0b11 : 0
  if (unused === 0) return
  // A group of its own, with the character in front: its six bits are the lowest of the 24.
  const value = Buffer.from(`AAA${String.fromCharCode(last)}`, 'base64')[2] ?? 0
  if ((value & unused) !== 0) throw refused()
}

/**
 * Decodes the text in `buffer` from `start` to `end` into the same place, which no decoded byte leaves.
 *
 * @returns the decoded bytes, a view of `buffer` from `start`
 * @throws ServiceError `invalid_parameter` for anything that no encoder makes
 */
export function* decodeBase64InPlace(buffer: Buffer, start = 0, end = buffer.length): Pass<Buffer> {
  let textEnd = yield* withoutLineBreaks(buffer, start, end)
  let padding = 0
  while (padding < 2 && textEnd > start && buffer[textEnd - 1] === PAD) {
    padding++
    textEnd--
  }
  const characters = textEnd - start
  if (characters % 4 === 1 || (padding > 0 && (characters + padding) % 4 !== 0)) throw refused()
  const text = buffer.subarray(start, textEnd)
  if ((has(text, '-') || has(text, '_')) && (has(text, '+') || has(text, '/'))) throw refused()
  if (characters > 0) assertNothingCut(buffer[textEnd - 1] as number, characters)

  let to = start
  for (let at = start; at < textEnd; at += PIECE) {
    const pieceEnd = Math.min(at + PIECE, textEnd)
    const written = buffer.write(buffer.toString('latin1', at, pieceEnd), to, 'base64')
    // One character that is not of the alphabet makes fewer bytes.
    if (written !== Math.floor(((pieceEnd - at) * 3) / 4)) throw refused()
    to += written
    if ((pieceEnd - start) % SLICE_BYTES === 0) yield
  }
  return buffer.subarray(start, to)
}

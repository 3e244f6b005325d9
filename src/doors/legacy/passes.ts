/**
 * Passes over the bytes of a chunk, whose size and content the client chose.
 *
 * Each byte is looked at a known number of times and without a native call of its own, and between two slices of a pass
 * other requests get their turn: a chunk made of escapes alone costs as much as one without.
 */
import { setImmediate as breathe } from 'node:timers/promises'

/** A pass that stops after each slice, and goes on when it is asked for the next one. */
export type Pass<T> = Generator<void, T, void>

/** A few milliseconds' work at the most. A chunk of the size that clients are told to send is done in one or two. */
export const SLICE_BYTES = 1024 * 1024

/** Does the whole pass, and lets others in between its slices. */
export async function inSlices<T>(pass: Pass<T>): Promise<T> {
  for (;;) {
    const { done, value } = pass.next()
    if (done) return value
    await breathe()
  }
}

/** How far a decoding in place has come. */
export interface Progress {
  /** What has been read. */
  from: number
  /** What has been written, never more than has been read. */
  to: number
}

/**
 * Undoes an encoding in place, slice by slice.
 *
 * @param start where it first shows; nothing of the text ahead of it is looked at
 * @param decode goes on from a position until another is reached, or a little beyond
 * @returns the new end of the text
 */
export function* inPlace(
  text: Buffer,
  start: number,
  decode: (text: Buffer, progress: Progress, until: number) => Progress,
): Pass<number> {
  let progress = { from: start, to: start }
  while (progress.from < text.length) {
    if (progress.from > start) yield
    progress = decode(text, progress, Math.min(progress.from + SLICE_BYTES, text.length))
  }
  return progress.to
}

/** Where one of the bytes is first; the length where none is. */
export function firstOf(text: Buffer, ...bytes: readonly number[]): number {
  const found = bytes.map((byte) => text.indexOf(byte)).filter((at) => at >= 0)
  return Math.min(text.length, ...found)
}

/** So many bytes are looked at before it is worth a native call to look further. */
const NEAR_BYTES = 64

/** Where `byte` is next, from `from` on; -1 when it is nowhere. Good for bytes that come often and for those that don't. */
export function nextOf(bytes: Buffer, byte: number, from: number): number {
  const near = Math.min(from + NEAR_BYTES, bytes.length)
  for (let at = from; at < near; at++) if (bytes[at] === byte) return at
  return near < bytes.length ? bytes.indexOf(byte, near) : -1
}

/** The value of a hexadecimal digit by its character code; -1 for what is none. */
const HEX = Int8Array.from({ length: 256 }, (_, code) => {
  const digit = '0123456789abcdef'.indexOf(String.fromCharCode(code).toLowerCase())
  return code < 0x80 ? digit : -1
})

/** Two hexadecimal digits; negative when they are none, or not there. */
export function hexByteAt(bytes: Buffer, at: number): number {
  if (at + 1 >= bytes.length) return -1
  const high = HEX[bytes[at] as number] as number
  const low = HEX[bytes[at + 1] as number] as number
  return high < 0 || low < 0 ? -1 : high * 16 + low
}

/**
 * `Content-Disposition` with the client's own file name (RFC 6266, RFC 8187).
 */
import { create } from 'content-disposition'

/** A name as long as a file system takes; what is longer makes a head that clients and proxies refuse. */
const MAX_NAME_BYTES = 240

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is to be removed
const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g

/**
 * The header's value for a file name of any content and length.
 *
 * Control characters and those that turn the direction of writing are left out (`gpj.exe` shall not read as `exe.jpg`),
 * halves of surrogate pairs replaced, and a long name is cut in front of its extension.
 */
export function contentDisposition(filename: string, type: 'inline' | 'attachment'): string {
  const name = filename.toWellFormed().replace(UNPRINTABLE, '')
  return create(shortened(name) || 'recording', { type })
}

function shortened(name: string): string {
  if (Buffer.byteLength(name) <= MAX_NAME_BYTES) return name
  const extension = /\.[A-Za-z0-9]{1,8}$/.exec(name)?.[0] ?? ''
  let stem = ''
  let room = MAX_NAME_BYTES - extension.length
  for (const character of name) {
    room -= Buffer.byteLength(character)
    if (room < 0) break
    stem += character
  }
  return stem + extension
}

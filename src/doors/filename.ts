/**
 * File names as clients give them: kept for people, never used as a path.
 */
import { ServiceError } from '../errors.ts'
import { isKeepable } from '../http/keepable.ts'
import { isServedExtension, servedExtensions } from '../media/extensions.ts'

const MAX_CHARACTERS = 1_000

/** The last part of what may be a path of any system, without control characters but for NUL, which no name has by mistake. */
export function baseName(filename: string): string {
  const last = filename.split(/[/\\]/).pop() ?? ''
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must go
  return last.replace(/[\u0001-\u001f\u007f]/g, '').trim()
}

/** @throws ServiceError `invalid_parameter`, or `unsupported_media_type` for an extension that is no audio we serve */
export function checkFilename(filename: string): string {
  if (filename === '' || filename.length > MAX_CHARACTERS) {
    throw new ServiceError('invalid_parameter', `A file name has 1 to ${MAX_CHARACTERS} characters.`)
  }
  if (!isKeepable(filename)) {
    throw new ServiceError('invalid_parameter', 'A file name has neither NUL nor half a surrogate pair.')
  }
  if (!isServedExtension(filename)) {
    throw new ServiceError(
      'unsupported_media_type',
      `The file name must end in one of ${servedExtensions().join(', ')}.`,
    )
  }
  return filename
}

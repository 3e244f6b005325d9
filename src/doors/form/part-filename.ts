/**
 * The file name of a form's part, out of what clients make of it.
 *
 * RFC 7578 wants it in `filename`, in plain UTF-8 or percent-encoded (§2, §4.2); browsers escape three characters of it
 * (WHATWG HTML § multipart/form-data); React Native has sent it in three ways; old mail libraries encode words (RFC 2047).
 */

/** `UTF-8''na%C3%AFve.wav` (RFC 8187 §3.2); undefined for what is not of that form. */
function extendedValue(value: string | undefined): string | undefined {
  const [, charset = '', encoded] =
    /^([\w!#$%&+^`{}~-]+)'[^']*'((?:[\w!#$&+.^`|~-]|%[0-9a-f]{2})*)$/i.exec(value ?? '') ?? []
  if (encoded === undefined) return undefined
  if (/^utf-8$/i.test(charset)) return percentDecoded(encoded)
  if (!/^iso-8859-1$/i.test(charset)) return undefined
  return encoded.replace(/%(..)/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
}

function percentDecoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}

/** What browsers escape in names (WHATWG HTML § multipart/form-data). */
export const unescapeName = (name: string) =>
  name.replace(/%(22|0d|0a)/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))

/**
 * A name that an encoder has made, decoded; undefined for one that only has a percent sign in it. It is ASCII, and
 * either holds letters beyond ASCII, or is to the letter what `encodeURIComponent` makes of a name (React Native from 0.77 on).
 */
function decodedName(name: string): string | undefined {
  if (!name.includes('%') || !/^[\x20-\x7e]*$/.test(name)) return undefined
  const decoded = percentDecoded(name)
  if (decoded === undefined) return undefined
  const isLetterForLetter = () => decoded.isWellFormed() && encodeURIComponent(decoded) === name
  // biome-ignore lint/suspicious/noControlCharactersInRegex: all of ASCII is meant
  return /[^\x00-\x7f]/.test(decoded) || isLetterForLetter() ? decoded : undefined
}

const WORD = String.raw`=\?[^\s?]+\?[BQ]\?[^\s?]*\?=`
/** White space between two words is none of the text's (RFC 2047 §6.2). */
const WORDS = new RegExp(String.raw`${WORD}(?:\s+${WORD})*`, 'gi')

function bytesOfWord(encoding: string, text: string): Buffer {
  if (/^b$/i.test(encoding)) return Buffer.from(text, 'base64')
  const latin1 = text
    .replaceAll('_', ' ')
    .replace(/=([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
  return Buffer.from(latin1, 'latin1')
}

function decodedWords(run: string): string {
  const pieces: { charset: string; bytes: Buffer[] }[] = []
  for (const word of run.split(/\s+/)) {
    const [, charset = '', encoding = '', text = ''] = word.split('?')
    const bytes = bytesOfWord(encoding, text)
    const last = pieces.at(-1)
    // Some cut a character in two; and what is behind a star is but the language (RFC 2231 §5).
    const name = charset.replace(/\*.*$/, '').toLowerCase()
    if (last?.charset === name) last.bytes.push(bytes)
    else pieces.push({ charset: name, bytes: [bytes] })
  }
  try {
    return pieces
      .map(({ charset, bytes }) => new TextDecoder(charset, { fatal: true }).decode(Buffer.concat(bytes)))
      .join('')
  } catch {
    return run
  }
}

/** What may follow a whole `filename*`: nothing, or one of the parameters that a part has. */
const FOLLOWS = /^\s*(?:;\s*(?:file)?name\s*=|$)/i

/** React Native 0.74 to 0.76 leaves a semicolon in `filename*` as it is, so that its value seems to end there. */
function isCut(disposition: string): boolean {
  const rest = /;\s*filename\*\s*=\s*[^;\s]*(.*)$/is.exec(disposition)?.[1]
  return rest !== undefined && !FOLLOWS.test(rest)
}

/**
 * @param disposition the part's `Content-Disposition`, and its parameters
 * @returns undefined for a part that is no file
 */
export function filenameOf(disposition: string, parameters: ReadonlyMap<string, string>): string | undefined {
  const plain = parameters.get('filename')
  const extended = plain !== undefined && isCut(disposition) ? undefined : extendedValue(parameters.get('filename*'))
  if (extended !== undefined || plain === undefined) return extended
  const decoded = decodedName(plain)
  if (decoded !== undefined) return decoded
  const withWords = plain.includes('=?') ? plain.replace(WORDS, decodedWords) : plain
  return withWords === plain ? unescapeName(plain) : withWords
}

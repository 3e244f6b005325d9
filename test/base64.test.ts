import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodeBase64InPlace } from '../src/doors/legacy/base64.ts'
import { ServiceError } from '../src/errors.ts'
import { atOnce } from './support/passes.ts'

/** The bytes as hex, or `refused`. */
function decode(text: string | Buffer): string {
  try {
    return atOnce(decodeBase64InPlace(Buffer.from(text as string))).toString('hex')
  } catch (error) {
    if (!(error instanceof ServiceError) || error.status !== 400) throw error
    return 'refused'
  }
}

const bytes = fc.uint8Array({ maxLength: 200 })
const encoded = fc
  .record({
    bytes,
    url: fc.boolean(),
    padded: fc.boolean(),
    breaks: fc.array(fc.tuple(fc.nat(300), fc.constantFrom('\n', '\r\n', '\r', '\n\n')), { maxLength: 6 }),
  })
  .map(({ bytes, url, padded, breaks }) => {
    let text = Buffer.from(bytes)
      .toString(url ? 'base64url' : 'base64')
      .replace(/=+$/, '')
    if (padded) text += '='.repeat((4 - (text.length % 4)) % 4)
    for (const [at, lineBreak] of breaks) {
      const position = at % (text.length + 1)
      text = text.slice(0, position) + lineBreak + text.slice(position)
    }
    return { text, hex: Buffer.from(bytes).toString('hex') }
  })

describe('Base64', () => {
  test('of any encoder gives its bytes: both alphabets, padded or not, with line breaks anywhere', () => {
    fc.assert(
      fc.property(encoded, ({ text, hex }) => {
        expect(decode(text)).toBe(hex)
      }),
      { numRuns: 2_000 },
    )
  })

  test('of a chunk longer than a piece gives its bytes, and none when one character is wrong', () => {
    const long = Buffer.from(Array.from({ length: 50_000 }, (_, i) => (i * 31) % 256))
    const text = long.toString('base64')
    expect(decode(text)).toBe(long.toString('hex'))
    expect(decode(text.match(/.{1,76}/g)?.join('\r\n') ?? '')).toBe(long.toString('hex'))
    for (const at of [0, 1, 16_383, 16_384, 16_385, 32_767, text.length - 3]) {
      expect(decode(`${text.slice(0, at)}*${text.slice(at + 1)}`)).toBe('refused')
    }
  })

  test('is refused with any other byte, wherever it stands', () => {
    const alphabet = new Set('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/\r\n')
    for (let byte = 0; byte < 256; byte++) {
      if (alphabet.has(String.fromCharCode(byte))) continue
      for (const at of [0, 1, 2, 3, 5, 8, 11]) {
        const text = Buffer.from('Q/JD+EFGSElK')
        text[at] = byte
        expect([byte, at, decode(text)]).toEqual([byte, at, 'refused'])
      }
    }
  })

  test('that was cut, or that no encoder makes, is refused', () => {
    for (const text of [
      'A',
      'AAAAA',
      'QQ=',
      'QUI==',
      'QUJD=',
      'QUJDQ===',
      '=',
      '==',
      'QR==',
      'QR',
      'QUJ',
      'QQ==QQ==',
      'QQ=\n=Q',
      '-_+/',
      ' QQ==',
      'QQ ==',
      'QQ==\t',
    ]) {
      expect([text, decode(text)]).toEqual([text, 'refused'])
    }
    for (const [text, hex] of [
      ['', ''],
      ['\r\n', ''],
      ['QQ', '41'],
      ['QQ=\n=\n', '41'],
      ['-_-_', 'fbffbf'],
      ['+/+/', 'fbffbf'],
    ] as const) {
      expect([text, decode(text)]).toEqual([text, hex])
    }
  })

  test('is never shortened: what is spoilt in one character gives as many bytes, or none', () => {
    fc.assert(
      fc.property(bytes, fc.nat(), fc.string({ minLength: 1, maxLength: 1 }), (given, at, character) => {
        const text = Buffer.from(given).toString('base64')
        // A line break is no character of it, and a `=` at the end makes it a shorter text that is right.
        if (text === '' || /[\r\n=]/.test(character)) return
        const position = at % text.length
        const got = decode(text.slice(0, position) + character + text.slice(position + 1))
        if (got !== 'refused') expect(got.length / 2).toBeGreaterThanOrEqual(given.length)
      }),
      { numRuns: 2_000 },
    )
  })
})

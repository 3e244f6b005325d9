import { parse } from 'content-disposition'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { contentDisposition } from '../src/playback/disposition.ts'

const nameIn = (header: string) => parse(header).parameters.filename

describe('Content-Disposition (RFC 6266, RFC 8187)', () => {
  test.for([
    ['call.wav', 'call.wav'],
    ['with space.wav', 'with space.wav'],
    ['"quoted".wav', '"quoted".wav'],
    ['back\\slash.wav', 'back\\slash.wav'],
    ['a;b=c,d.wav', 'a;b=c,d.wav'],
    ['100%.wav', '100%.wav'],
    ['%2e%2e.wav', '%2e%2e.wav'],
    ['कॉल.wav', 'कॉल.wav'],
    ['Zoë’s call – №1.wav', 'Zoë’s call – №1.wav'],
    ['☎️📞.wav', '☎️📞.wav'],
    ['line\r\nSet-Cookie: x=1.wav', 'lineSet-Cookie: x=1.wav'],
    ['nul\0tab\tdel\x7f.wav', 'nultabdel.wav'],
    ['\u202Evaw.exe', 'vaw.exe'],
    ['half \ud800 a pair.wav', 'half � a pair.wav'],
    ['', 'recording'],
    ['\u0000', 'recording'],
  ] as const)('%j is told as %j', ([filename, told]) => {
    const header = contentDisposition(filename, 'inline')
    expect(header.startsWith('inline; filename')).toBe(true)
    expect(nameIn(header)).toBe(told)
  })

  test('a name of 3,000 characters is cut in front of its extension', () => {
    for (const letter of ['a', 'क', '📞']) {
      const header = contentDisposition(`${letter.repeat(3_000)}.wav`, 'attachment')
      expect(header.length).toBeLessThan(1_100)
      expect(nameIn(header)).toMatch(new RegExp(`^(${letter})+\\.wav$`, 'u'))
      expect(Buffer.byteLength(nameIn(header) ?? '')).toBeGreaterThan(230)
    }
  })

  test('any name makes one line of visible ASCII that reads back', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.string({ unit: 'binary' }), fc.string({ unit: 'grapheme', maxLength: 400 })),
        (filename) => {
          const header = contentDisposition(filename, 'inline')
          expect(header).toMatch(/^[\x20-\x7e]{1,1200}$/)
          expect(filename.toWellFormed().startsWith(nameIn(header)?.[0] ?? '')).toBeDefined()
          expect(nameIn(header)).not.toBe('')
        },
      ),
      { numRuns: 1000 },
    )
  })
})

import { Busboy } from '@fastify/busboy'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseContentType } from '../src/doors/content-type.ts'
import { boundaryOf, MultipartReader, type Part } from '../src/doors/form/multipart.ts'
import { ServiceError } from '../src/errors.ts'

interface ReadPart extends Part {
  bytes: string
}

/** The parts of a form given in pieces of these sizes, over and over; `refused` for what is none. */
function read(form: Buffer, boundary: string, sizes: number[] = [form.length || 1]): ReadPart[] | 'refused' {
  const parts: ReadPart[] = []
  const ended: ReadPart[] = []
  try {
    const reader = new MultipartReader(boundary, (part) => {
      const all: Buffer[] = []
      const read = { ...part, bytes: '' }
      parts.push(read)
      return {
        write: (piece) => {
          all.push(Buffer.from(piece))
          return undefined
        },
        end: () => {
          read.bytes = Buffer.concat(all).toString('latin1')
          ended.push(read)
        },
      }
    })
    for (let at = 0, i = 0; at < form.length; i++) {
      const size = sizes[i % sizes.length] as number
      void reader.write(form.subarray(at, at + size))
      at += size
    }
    reader.end()
  } catch (error) {
    if (!(error instanceof ServiceError) || error.status !== 400) throw error
    return 'refused'
  }
  expect(ended).toEqual(parts)
  return parts
}

const form = (boundary: string, parts: { headers: string; bytes: string }[], end = `--${boundary}--\r\n`) =>
  Buffer.from(
    parts.map(({ headers, bytes }) => `--${boundary}\r\n${headers}\r\n\r\n${bytes}\r\n`).join('') + end,
    'latin1',
  )

const boundary = fc.constantFrom('x', 'bb', '----WebKitFormBoundaryZp2', "a'()+_,-./:=?b")
const sizes = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 4 })
/** Bytes that look like delimiters and are none, among others. */
const content = (of: string) =>
  fc
    .array(
      fc.oneof(
        fc.constantFrom('\r', '\n', '\r\n', '--', `\r\n-${of}`, `\r\n--${of.slice(0, -1)}`, `--${of}`, '\0'),
        fc.string({ unit: 'binary-ascii' }),
      ),
    )
    .map((pieces) => pieces.join(''))
    .filter((text) => !`\r\n${text}`.includes(`\r\n--${of}`))
const parts = (of: string) =>
  fc.array(
    fc.record({
      name: fc.stringMatching(/^[a-z_]{1,8}$/),
      filename: fc.option(fc.stringMatching(/^[a-z]{1,6}\.wav$/)),
      bytes: content(of),
    }),
    { maxLength: 4 },
  )
const headersOf = (part: { name: string; filename: string | null }) =>
  `Content-Disposition: form-data; name="${part.name}"${
    part.filename === null ? '' : `; filename="${part.filename}"\r\nContent-Type: audio/wav`
  }`

/** What another parser makes of it. */
function reference(bytes: Buffer, of: string): Promise<{ name: string; bytes: string }[]> {
  return new Promise((resolve, reject) => {
    const found: { name: string; bytes: string }[] = []
    const busboy = new Busboy({
      headers: { 'content-type': `multipart/form-data; boundary="${of}"` },
      defCharset: 'latin1',
    })
    busboy.on('field', (name, value) => void found.push({ name, bytes: value }))
    busboy.on('file', (name, stream) => {
      const part = { name, bytes: '' }
      found.push(part)
      stream.on('data', (piece: Buffer) => {
        part.bytes += piece.toString('latin1')
      })
    })
    busboy.on('finish', () => resolve(found))
    busboy.on('error', reject)
    busboy.end(bytes)
  })
}

describe('a form', () => {
  test('gives its parts, however it is cut into pieces', () => {
    fc.assert(
      fc.property(
        boundary.chain((of) =>
          fc.tuple(
            fc.constant(of),
            parts(of),
            sizes,
            fc.constantFrom('', 'preamble\r\n', '\r\n'),
            fc.constantFrom('', 'epilogue'),
          ),
        ),
        ([of, given, cuts, preamble, epilogue]) => {
          const body = form(
            of,
            given.map((part) => ({ headers: headersOf(part), bytes: part.bytes })),
          )
          const expected = given.map(({ name, filename, bytes }) => ({
            name,
            filename: filename ?? undefined,
            contentType: filename === null ? undefined : 'audio/wav',
            bytes,
          }))
          expect(read(Buffer.concat([Buffer.from(preamble), body, Buffer.from(epilogue)]), of, cuts)).toEqual(expected)
        },
      ),
      { numRuns: 400 },
    )
  })

  test('gives the same parts as with @fastify/busboy', async () => {
    await fc.assert(
      fc.asyncProperty(
        boundary.chain((of) => fc.tuple(fc.constant(of), parts(of))),
        async ([of, given]) => {
          if (given.length === 0) return
          const body = form(
            of,
            given.map((part) => ({ headers: headersOf(part), bytes: part.bytes })),
          )
          const ours = read(body, of)
          const brief = ours === 'refused' ? ours : ours.map(({ name, bytes }) => ({ name, bytes }))
          // It tells a field when it ends and a file when it begins.
          const sorted = (list: unknown) =>
            list === 'refused' ? list : (list as object[]).map((each) => JSON.stringify(each)).sort()
          expect(sorted(brief)).toEqual(sorted(await reference(body, of)))
        },
      ),
      { numRuns: 300 },
    )
  })

  test('that is cut anywhere is refused', () => {
    const body = form('b', [
      { headers: 'Content-Disposition: form-data; name="file"; filename="a.wav"', bytes: '0123456789' },
      { headers: 'Content-Disposition: form-data; name="call_log_id"', bytes: 'call' },
    ])
    for (let length = 0; length < body.length - 2; length++) {
      expect([length, read(body.subarray(0, length), 'b')]).toEqual([length, 'refused'])
    }
    expect(read(body.subarray(0, -2), 'b')).toHaveLength(2)
  })

  test('spoilt in any way is a form or is refused, and never more bytes than came', () => {
    const spoilt = boundary.chain((of) =>
      fc
        .tuple(
          fc.constant(of),
          parts(of),
          fc.nat(),
          fc.nat(3),
          fc.constantFrom('', '\r', '\n', '\r\n', '--', ':', '"', '\\', '\0', '%'),
          sizes,
        )
        .map(([boundary, given, at, drop, add, cuts]) => {
          const whole = form(
            boundary,
            given.map((part) => ({ headers: headersOf(part), bytes: part.bytes })),
          ).toString('latin1')
          const position = at % (whole.length + 1)
          const body = Buffer.from(whole.slice(0, position) + add + whole.slice(position + drop), 'latin1')
          return { boundary, body, cuts }
        }),
    )
    fc.assert(
      fc.property(spoilt, ({ boundary, body, cuts }) => {
        const atOnce = read(body, boundary)
        expect(read(body, boundary, cuts)).toEqual(atOnce)
        if (atOnce === 'refused') return
        expect(atOnce.reduce((sum, part) => sum + part.bytes.length, 0)).toBeLessThanOrEqual(body.length)
      }),
      { numRuns: 400 },
    )
  })

  test.for([
    ['no Content-Disposition', 'X-Nothing: 1'],
    ['no name', 'Content-Disposition: form-data; filename="a.wav"'],
    ['another disposition', 'Content-Disposition: attachment; name="file"'],
    ['endless headers', `Content-Disposition: form-data; name="file"\r\nX: ${'x'.repeat(20_000)}`],
  ])('with %s is refused', ([, headers]) => {
    expect(read(form('b', [{ headers: headers as string, bytes: 'x' }]), 'b')).toBe('refused')
    expect(read(form('b', [{ headers: headers as string, bytes: 'x' }]), 'b', [7])).toBe('refused')
  })

  test('with something behind a delimiter is refused; padding is not', () => {
    const headers = 'Content-Disposition: form-data; name="a"'
    expect(read(Buffer.from(`--b x\r\n${headers}\r\n\r\n1\r\n--b--`), 'b')).toBe('refused')
    expect(read(Buffer.from(`--b \t\r\n${headers}\r\n\r\n1\r\n--b--`), 'b')).toHaveLength(1)
    expect(read(Buffer.from(`--b \t\r\n${headers}\r\n\r\n1\r\n--b--`), 'b', [1])).toHaveLength(1)
  })
})

describe('a file name', () => {
  const nameIn = (parameters: string) => {
    const parts = read(
      Buffer.from(`--b\r\nContent-Disposition: form-data; name="file"; ${parameters}\r\n\r\nx\r\n--b--`),
      'b',
    )
    return parts === 'refused' ? parts : parts[0]?.filename
  }
  test.for([
    ['filename="Anruf 1.wav"', 'Anruf 1.wav'],
    ['filename=call.wav', 'call.wav'],
    ['FileName = "call.wav"', 'call.wav'],
    ['filename="Gespräch – 通話.m4a"', 'Gespräch – 通話.m4a'], // raw UTF-8, as phones and browsers send it
    ['filename="a%22b.wav"', 'a"b.wav'], // browsers
    ['filename="a\\"b.wav"', 'a"b.wav'], // curl
    ['filename="C:\\calls\\a.wav"', 'C:\\calls\\a.wav'], // old browsers: its base name is kept later
    ['filename="100%.wav"', '100%.wav'],
    ['filename="x.wav"; filename*=UTF-8\'\'Gespr%C3%A4ch%20%E2%80%93.wav', 'Gespräch –.wav'],
    ["filename*=utf-8'de'a%20b.wav; filename=x.wav", 'a b.wav'],
    ["filename*=iso-8859-1''Gespr%E4ch.wav", 'Gespräch.wav'],
    ["filename=x.wav; filename*=UTF-8''%ff.wav", 'x.wav'], // no UTF-8
    ["filename=x.wav; filename*=UTF-16''a.wav", 'x.wav'],
    ['filename="50% off.wav"', '50% off.wav'],
    ['filename="100%25 done.wav"', '100%25 done.wav'], // browsers escape no percent sign
    ['filename="a%ff.wav"', 'a%ff.wav'], // no UTF-8
    ['filename="a%41.wav"', 'a%41.wav'], // no encoder encodes an A
    ['filename="Gespr%C3%A4ch%201.m4a"', 'Gespräch 1.m4a'], // React Native from 0.77 on
    ['filename="call%201%20(2).m4a"', 'call 1 (2).m4a'],
    ['filename="%E0%A4%95%E0%A5%89%E0%A4%B2.m4a"', 'कॉल.m4a'],
    ['filename="50%25%20off.wav"', '50% off.wav'],
    ['filename="a%2522.wav"', 'a%22.wav'], // decoded once
    ['filename="Gespr%c3%a4ch 1.m4a"', 'Gespräch 1.m4a'], // RFC 7578 §2, spaces left alone
    ['filename="Gespräch%201.m4a"', 'Gespräch%201.m4a'], // what is not ASCII was not encoded
    ['filename="a;b.m4a"; filename*=utf-8\'\'a;b.m4a', 'a;b.m4a'], // React Native 0.74 to 0.76
    ['filename="ä; x=1.m4a"; filename*=utf-8\'\'%C3%A4;%20x=1.m4a', 'ä; x=1.m4a'],
    ['filename="a;.m4a"; filename*=utf-8\'\'a;.m4a', 'a;.m4a'],
    ['filename="x.wav"; filename*=UTF-8\'\'a%2522.wav', 'a%22.wav'],
    ['filename="=?UTF-8?B?R2VzcHLDpGNoLndhdg==?="', 'Gespräch.wav'], // RFC 2047
    ['filename="=?iso-8859-1?Q?Gespr=E4ch_1.wav?="', 'Gespräch 1.wav'],
    ['filename="=?utf-8?Q?Gespr=C3?=\r\n =?utf-8?Q?=A4ch.wav?="', 'Gespräch.wav'], // cut in a character
    ['filename="=?UTF-8*de?q?a=2Ewav?="', 'a.wav'],
    ['filename="=?no-such?B?YS53YXY=?=.wav"', '=?no-such?B?YS53YXY=?=.wav'],
    ['filename="what=?.wav"', 'what=?.wav'],
    ['filename=""', ''],
    ['foo=bar', undefined],
  ] as const)('%s', ([parameters, expected]) => {
    expect(nameIn(parameters)).toBe(expected)
  })

  test('of any text comes back from what React Native makes of it', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', minLength: 1 }), (name) => {
        // Text of ASCII alone may look like text that browsers escape; it is the same either way.
        fc.pre(name.isWellFormed())
        expect(nameIn(`filename="${encodeURIComponent(name)}"`)).toBe(name)
      }),
    )
  })
})

describe('a Content-Type', () => {
  test.for([
    ['multipart/form-data; boundary=abc', 'abc'],
    ['Multipart/Form-Data;boundary="a b?c"', 'a b?c'],
    ['multipart/form-data; charset=utf-8; Boundary=x', 'x'],
  ] as const)('%s has a boundary', ([header, expected]) => {
    const { type, parameters } = parseContentType(header)
    expect(type).toBe('multipart/form-data')
    expect(boundaryOf(parameters)).toBe(expected)
  })

  test.for([
    'multipart/form-data',
    'multipart/form-data; boundary=',
    'multipart/form-data; boundary="a "',
    `multipart/form-data; boundary=${'x'.repeat(71)}`,
  ])('%s has none', (header) => {
    expect(() => boundaryOf(parseContentType(header).parameters)).toThrow(/boundary/)
  })
})

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ServiceError } from '../src/errors.ts'
import { type ByteRange, multipartOf, selectRanges } from '../src/playback/range.ts'
import { rangeHeader } from './support/range-arbitrary.ts'
import { referenceAnswer } from './support/range-reference.ts'

/** What selectRanges says, in the reference's words. */
function answer(header: string | undefined, size: number) {
  try {
    const ranges = selectRanges(header, size)
    return ranges ? { status: 206, ranges } : { status: 200 }
  } catch (error) {
    if (!(error instanceof ServiceError)) throw error
    expect(error.headers).toEqual({ 'Content-Range': `bytes */${size}` })
    return { status: error.status }
  }
}

const runsOf = (ranges: readonly ByteRange[]) =>
  ranges.map(({ start, end }) => [start, end]).sort(([a = 0], [b = 0]) => a - b)

describe('ranges of ten bytes (RFC 9110 §14.1.2, §14.2)', () => {
  test.for([
    [undefined, 200],
    ['bytes=0-0', [[0, 0]]],
    ['bytes=9-9', [[9, 9]]],
    ['bytes=9-', [[9, 9]]],
    ['bytes=3-99', [[3, 9]]],
    ['bytes=-3', [[7, 9]]],
    ['bytes=-10', [[0, 9]]],
    ['bytes=-99', [[0, 9]]],
    ['bytes=-0', 416],
    ['bytes=10-', 416],
    ['bytes=0-9007199254740993', [[0, 9]]],
    ['bytes=-340282366920938463463374607431768211456', [[0, 9]]],
    ['bytes=9007199254740993-', 416],
    ['BYTES=0-1', [[0, 1]]],
    ['items=0-1', 200],
    ['bytes 0-1', 200],
    ['bytes=', 416],
    ['bytes=a-b', 416],
    ['bytes=5-3', 416],
    ['bytes=0-1,5-3', 416],
    ['bytes=0-1,9007199254740993-9007199254740992', 416],
    ['bytes=0 - 1', 416],
    [
      'bytes=0-1,,7-8',
      [
        [0, 1],
        [7, 8],
      ],
    ],
    [
      'bytes= 0-1 ,\t7-8 ',
      [
        [0, 1],
        [7, 8],
      ],
    ],
    [
      'bytes=7-8,0-1',
      [
        [7, 8],
        [0, 1],
      ],
    ],
    ['bytes=0-1,2-3', [[0, 3]]],
    [
      'bytes=0-5,3-7,-1',
      [
        [0, 7],
        [9, 9],
      ],
    ],
    ['bytes=0-1,20-30', [[0, 1]]],
    ['bytes=20-30,40-', 416],
  ] as const)('%s', ([header, expected]) => {
    const got = answer(header, 10)
    if (typeof expected === 'number') expect(got).toEqual({ status: expected })
    else expect(got).toEqual({ status: 206, ranges: expected.map(([start, end]) => ({ start, end })) })
  })

  test('nothing can be had of nothing', () => {
    for (const header of ['bytes=0-', 'bytes=0-0', 'bytes=-1', 'bytes=-0']) expect(answer(header, 0).status).toBe(416)
    expect(answer(undefined, 0).status).toBe(200)
  })

  test('more than sixteen parts is the whole', () => {
    const set = (parts: number) => `bytes=${Array.from({ length: parts }, (_, i) => `${2 * i}-${2 * i}`).join(',')}`
    expect(selectRanges(set(16), 1000)).toHaveLength(16)
    expect(selectRanges(set(17), 1000)).toBeUndefined()
    expect(selectRanges(set(3000), 10_000)).toBeUndefined()
  })
})

test('for any size and any header, the answer is the reference', () => {
  const sizeAndHeader = fc
    .oneof(fc.integer({ min: 0, max: 30 }), fc.integer({ min: 0, max: 2000 }))
    .chain((size) => fc.tuple(fc.constant(size), rangeHeader(size)))
  fc.assert(
    fc.property(sizeAndHeader, ([size, header]) => {
      const expected = referenceAnswer(header, size)
      const got = answer(header, size)
      if (expected.status === 206 && expected.runs.length > 16) return expect(got.status).toBe(200)
      expect(got.status).toBe(expected.status)
      if (expected.status === 206) expect(runsOf(got.ranges ?? [])).toEqual(expected.runs)
    }),
    { numRuns: 5000 },
  )
})

describe('multipart/byteranges (RFC 9110 §14.6)', () => {
  const ranges = [
    { start: 700, end: 799 },
    { start: 0, end: 9 },
  ]

  test('says its length to the byte', () => {
    const body = multipartOf(ranges, 100_000, 'audio/wav', 'b0undary')
    const text = body?.parts.map((part) => part.head + 'x'.repeat(part.end - part.start + 1)).join('')
    expect(`${text}${body?.tail}`).toBe(
      `--b0undary\r\nContent-Type: audio/wav\r\nContent-Range: bytes 700-799/100000\r\n\r\n${'x'.repeat(100)}` +
        `\r\n--b0undary\r\nContent-Type: audio/wav\r\nContent-Range: bytes 0-9/100000\r\n\r\n${'x'.repeat(10)}` +
        '\r\n--b0undary--\r\n',
    )
    expect(body?.length).toBe(`${text}${body?.tail}`.length)
    expect(body?.contentType).toBe('multipart/byteranges; boundary=b0undary')
  })

  test('is not sent where the whole is shorter', () => {
    const { length } = multipartOf(ranges, 100_000, 'audio/wav', 'b0undary') ?? { length: 0 }
    // The size also stands in every Content-Range: three digits less, twice.
    expect(multipartOf(ranges, length - 6, 'audio/wav', 'b0undary')?.length).toBe(length - 6)
    expect(multipartOf(ranges, length - 7, 'audio/wav', 'b0undary')).toBeUndefined()
  })
})

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Conditions, evaluatePreconditions, parseHttpDate, rangeApplies } from '../src/playback/preconditions.ts'

const NOW_MS = Date.UTC(2026, 10, 22)
const STORED = { etag: '"c0ffee"', lastModifiedMs: Date.UTC(2026, 5, 1, 12, 0, 0) + 345 }
const SAME = 'Mon, 01 Jun 2026 12:00:00 GMT'
const BEFORE = 'Mon, 01 Jun 2026 11:59:59 GMT'
const AFTER = 'Mon, 01 Jun 2026 12:00:01 GMT'

const evaluate = (conditions: Conditions) => evaluatePreconditions(conditions, STORED, NOW_MS)

describe('If-Match (RFC 9110 §13.1.1)', () => {
  test.for([
    ['"c0ffee"', 200],
    ['*', 200],
    ['"a", "c0ffee"', 200],
    ['"a,b","c0ffee"', 200],
    [', ,"c0ffee" ,', 200],
    ['W/"c0ffee"', 412],
    ['"other"', 412],
    ['c0ffee', 412],
    ['', 412],
    ['"C0FFEE"', 412],
  ] as const)('%s answers %i', ([ifMatch, status]) => {
    expect(evaluate({ ifMatch })).toBe(status)
  })
})

describe('If-None-Match (§13.1.2)', () => {
  test.for([
    ['"c0ffee"', 304],
    ['W/"c0ffee"', 304],
    ['*', 304],
    ['"x" , W/"c0ffee"', 304],
    ['"x,\\", "c0ffee"', 304],
    ['"x"', 200],
    ['c0ffee', 200],
    ['"x" "c0ffee"', 200],
  ] as const)('%s answers %i', ([ifNoneMatch, status]) => {
    expect(evaluate({ ifNoneMatch })).toBe(status)
  })
})

describe('dates (§13.1.3, §13.1.4)', () => {
  test.for([
    [SAME, 304, 200],
    [AFTER, 304, 200],
    [BEFORE, 200, 412],
    ['Monday, 01-Jun-26 12:00:00 GMT', 304, 200],
    ['Mon Jun  1 12:00:00 2026', 304, 200],
    ['2026-06-01T12:00:00Z', 200, 200],
    ['yesterday', 200, 200],
    [`${SAME}, ${SAME}`, 200, 200],
  ] as const)('%s', ([date, modified, unmodified]) => {
    expect(evaluate({ ifModifiedSince: date })).toBe(modified)
    expect(evaluate({ ifUnmodifiedSince: date })).toBe(unmodified)
  })
})

describe('order (§13.2.2)', () => {
  test.for([
    ['If-Match makes If-Unmodified-Since moot', { ifMatch: '"c0ffee"', ifUnmodifiedSince: BEFORE }, 200],
    ['If-None-Match makes If-Modified-Since moot', { ifNoneMatch: '"x"', ifModifiedSince: AFTER }, 200],
    ['a failed If-Match comes before If-None-Match', { ifMatch: '"x"', ifNoneMatch: '"c0ffee"' }, 412],
    ['a held If-Match leaves If-None-Match to decide', { ifMatch: '*', ifNoneMatch: '*' }, 304],
    ['If-Unmodified-Since, then If-None-Match', { ifUnmodifiedSince: AFTER, ifNoneMatch: '"c0ffee"' }, 304],
  ] as const)('%s', ([, conditions, status]) => {
    expect(evaluate(conditions)).toBe(status)
  })
})

describe('If-Range (§13.1.5)', () => {
  test.for([
    [undefined, true],
    ['"c0ffee"', true],
    ['W/"c0ffee"', false],
    ['"x"', false],
    ['*', false],
    [SAME, true],
    [AFTER, false],
    [BEFORE, false],
    ['Monday, 01-Jun-26 12:00:00 GMT', true],
    ['c0ffee', false],
    ['', false],
  ] as const)('%s: %s', ([ifRange, applies]) => {
    expect(rangeApplies(ifRange, STORED, NOW_MS)).toBe(applies)
  })
})

describe('HTTP dates (§5.6.7)', () => {
  test.for([
    ['Sun, 06 Nov 1994 08:49:37 GMT', '1994-11-06T08:49:37Z'],
    ['Sunday, 06-Nov-94 08:49:37 GMT', '1994-11-06T08:49:37Z'],
    ['Sun Nov  6 08:49:37 1994', '1994-11-06T08:49:37Z'],
    ['Saturday, 01-Jan-76 00:00:00 GMT', '2076-01-01T00:00:00Z'],
    ['Saturday, 01-Jan-77 00:00:00 GMT', '1977-01-01T00:00:00Z'],
    ['Sat, 31 Dec 2016 23:59:60 GMT', '2017-01-01T00:00:00Z'],
    ['Fri, 01 Jan 0099 00:00:00 GMT', '0099-01-01T00:00:00Z'],
  ] as const)('%s', ([value, iso]) => {
    expect(parseHttpDate(value, NOW_MS)).toBe(Date.parse(iso))
  })

  test.for([
    'Sun, 6 Nov 1994 08:49:37 GMT',
    'Sun, 06 Nov 1994 08:49:37 UTC',
    'Sun, 06 Nov 1994 24:00:00 GMT',
    'Sun, 30 Feb 2025 00:00:00 GMT',
    'Sun, 00 Nov 1994 08:49:37 GMT',
    'sun, 06 nov 1994 08:49:37 gmt',
    '784111777',
    '1994',
    '',
  ])('%s is none', (value) => {
    expect(parseHttpDate(value, NOW_MS)).toBeUndefined()
  })

  test('every date that Node writes is read back', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: Date.UTC(9999, 0) / 1000 }), (seconds) => {
        expect(parseHttpDate(new Date(seconds * 1000).toUTCString(), NOW_MS)).toBe(seconds * 1000)
      }),
    )
  })
})

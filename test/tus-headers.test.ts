import { Metadata } from '@tus/server'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { creationOf, metadataOf, methodOf, partIdsIn, patchOf, textOf } from '../src/doors/tus/headers.ts'
import { ServiceError } from '../src/errors.ts'
import { reprDigest, sha256In } from '../src/http/repr-digest.ts'

/** Anything at all, with a liking for what a header may hold. */
const text = fc.oneof(
  fc.string(),
  fc.string({ unit: fc.constantFrom(...' ,;=:/+-.0123456789abcABC%\t"') }),
  fc.constantFrom('1', '10', 'partial', 'final;/a /b', 'sha-256=:AAAA:', 'filename YQ==,call_log_id YQ=='),
)

const headers = fc.record(
  Object.fromEntries(
    [
      'upload-length',
      'upload-defer-length',
      'upload-metadata',
      'upload-concat',
      'upload-offset',
      'content-type',
      'content-length',
      'repr-digest',
    ].map((name) => [name, text]),
  ),
  { requiredKeys: [] },
) as fc.Arbitrary<Record<string, string>>

test('whatever the headers are, they are read or refused, and never a fault of ours', () => {
  fc.assert(
    fc.property(headers, fc.string(), (each, method) => {
      for (const read of [
        () => creationOf(each),
        () => patchOf(each),
        () => partIdsIn(Object.values(each), '/api/leads/a/uploads'),
        () => sha256In(each['repr-digest']),
        () => methodOf(method, each),
      ]) {
        try {
          read()
        } catch (error) {
          expect(error).toBeInstanceOf(ServiceError)
          expect((error as ServiceError).status).toBeLessThan(500)
        }
      }
    }),
    { numRuns: 2_000 },
  )
})

describe('Upload-Metadata', () => {
  const key = fc.string({ unit: fc.constantFrom(...'abcXYZ019_-.!~#'), minLength: 1, maxLength: 10 })
  const entries = fc.uniqueArray(fc.tuple(key, fc.uint8Array({ maxLength: 20 })), {
    selector: ([name]) => name,
    minLength: 1,
  })
  const header = (pairs: [string, Uint8Array][]) =>
    pairs
      .map(([name, value]) => (value.length === 0 ? name : `${name} ${Buffer.from(value).toString('base64')}`))
      .join(',')

  test('gives back what was put in, of any bytes', () => {
    fc.assert(
      fc.property(entries, (pairs) => {
        const read = metadataOf({ 'upload-metadata': header(pairs) })
        expect([...read].map(([name, value]) => [name, [...value]])).toEqual(
          pairs.map(([name, value]) => [name, [...value]]),
        )
      }),
    )
  })

  test('is refused wherever the library refuses it, but for white space, padding, empty elements, and the names that its objects have', () => {
    const padded = (pair: string) =>
      pair.replace(/ ([A-Za-z0-9+/]+)$/, (_, digits: string) => ` ${digits.padEnd((digits.length + 3) & ~3, '=')}`)
    const strict = (each: string) =>
      each
        .split(',')
        .map((pair) => padded(pair.trim()))
        .filter((pair) => pair !== '')
        .join(',')
    fc.assert(
      fc.property(fc.oneof(text, entries.map(header)), (each) => {
        const accepts = (read: () => unknown) => {
          try {
            read()
            return true
          } catch {
            return false
          }
        }
        fc.pre(strict(each) !== '')
        if (!accepts(() => Metadata.parse(strict(each)))) {
          fc.pre(!/(^|,)\s*(__\w+__|constructor|toString|valueOf|\w+Of|has\w+|is\w+|to\w+)( |,|$)/.test(each))
          expect(accepts(() => metadataOf({ 'upload-metadata': each }))).toBe(false)
        }
      }),
      { numRuns: 2_000 },
    )
  })

  test('comes with white space around commas, and without padding', () => {
    fc.assert(
      fc.property(
        entries,
        fc.array(fc.constantFrom('', ' ', '\t', '  '), { minLength: 2, maxLength: 2 }),
        (pairs, [before, after]) => {
          const loose = header(pairs).replaceAll('=', '')
          const read = metadataOf({ 'upload-metadata': loose.replaceAll(',', `${before},${after}`) })
          expect([...read].map(([name, value]) => [name, [...value]])).toEqual(
            pairs.map(([name, value]) => [name, [...value]]),
          )
        },
      ),
    )
  })

  test('is text only where it is UTF-8', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', minLength: 1 }), (value) => {
        const read = metadataOf({ 'upload-metadata': header([['a', Buffer.from(value)]]) })
        expect(textOf(read, 'a')).toBe(value)
      }),
    )
    expect(() => textOf(metadataOf({ 'upload-metadata': 'a /w==' }), 'a')).toThrow('UTF-8')
    expect(textOf(metadataOf({ 'upload-metadata': 'a' }), 'a')).toBeUndefined()
  })
})

test('Repr-Digest gives back the SHA-256 that was put in, among any others', () => {
  const hex = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString('hex'))
  const others = fc.array(fc.constantFrom('sha-512=:AA==:', 'md5=:AAAA:;q=1', 'unixsum=::'))
  fc.assert(
    fc.property(hex, others, others, (sha256, before, after) => {
      expect(sha256In([...before, reprDigest(sha256), ...after].join(', '))).toBe(sha256)
      expect(sha256In(before.length > 0 ? before.join(',') : undefined)).toBeUndefined()
    }),
  )
})

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { readUrlencoded } from '../src/doors/legacy/urlencoded.ts'
import { atOnce } from './support/passes.ts'

/** All fields, the chunk as text among them. */
function read(text: string): Record<string, string> {
  const { params, chunk } = atOnce(readUrlencoded(Buffer.from(text)))
  return chunk ? { ...params, chunk: chunk.toString() } : params
}

const reference = (text: string) => Object.fromEntries(new URLSearchParams(text))

describe('a form in one line', () => {
  test('is what URLSearchParams makes of it, whatever a client encodes', () => {
    const name = fc.oneof(fc.constantFrom('chunk', 'action', 'chunk2', 'a b'), fc.string({ maxLength: 5 }))
    const form = fc
      .array(fc.tuple(name, fc.oneof(fc.base64String({ maxLength: 40 }), fc.string({ unit: 'grapheme' }))), {
        maxLength: 6,
      })
      .map((pairs) => new URLSearchParams(pairs).toString())
    fc.assert(
      fc.property(form, (text) => {
        expect(read(text)).toEqual(reference(text))
      }),
      { numRuns: 2_000 },
    )
  })

  test.for([
    ['chunk=A%2BB%2fC%3D%3d&action=append', { chunk: 'A+B/C==', action: 'append' }],
    ['action=append&chunk=A+B', { chunk: 'A B', action: 'append' }], // a + that was not encoded: no Base64
    ['chunk=1&chunk=2', { chunk: '2' }],
    ['chunk=', { chunk: '' }],
    ['chunk=%', { chunk: '%' }],
    ['chunk=%4', { chunk: '%4' }],
    ['chunk=%zz%41', { chunk: '%zzA' }],
    ['&&chunk=x&', { chunk: 'x' }],
    ['chunks=1', { chunks: '1' }],
    ['', {}],
  ] as const)('%s', ([text, expected]) => {
    expect(read(text)).toEqual(expected)
    expect(read(text)).toEqual(reference(text))
  })

  test('is decoded whole where an escape stands across two slices', () => {
    for (const shift of [0, 1, 2]) {
      expect(read(`chunk=${'A'.repeat(shift)}${'%41'.repeat(800_000)}`).chunk).toBe('A'.repeat(shift + 800_000))
    }
  })

  test('may have a thousand fields', () => {
    expect(Object.keys(read(Array.from({ length: 1_000 }, (_, i) => `f${i}=1`).join('&')))).toHaveLength(1_000)
    expect(() => read('a&'.repeat(1_001))).toThrow(/1000/)
  })

  test('may have 64 KiB beside its chunk', () => {
    const chunk = 'A'.repeat(300_000)
    expect(read(`note=${'x'.repeat(60_000)}&chunk=${chunk}`).chunk).toBe(chunk)
    expect(() => read(`note=${'x'.repeat(70_000)}&chunk=${chunk}`)).toThrow(/65536/)
  })
})

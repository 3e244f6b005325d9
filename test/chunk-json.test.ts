import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { readChunkJson, unescapeInPlace } from '../src/doors/legacy/chunk-json.ts'
import { ServiceError } from '../src/errors.ts'
import { atOnce } from './support/passes.ts'

/** What the reader makes of a text: its members with the chunk unescaped, or `invalid`. */
function read(text: string | Buffer): unknown {
  const body = Buffer.from(text as string)
  try {
    const { params, chunk } = atOnce(readChunkJson(body))
    if (!chunk) return params
    const end = atOnce(unescapeInPlace(body, chunk))
    const text = body.toString('latin1', chunk.start, end)
    // What no Base64 has is refused where that is read.
    return /[^\x20-\x7e\r\n]/.test(text) ? 'invalid' : { ...params, chunk: text }
  } catch (error) {
    if (!(error instanceof ServiceError) || error.status !== 400) throw error
    return 'invalid'
  }
}

/** What `JSON.parse` makes of it; only objects count. */
function reference(text: string): unknown {
  try {
    const value: unknown = JSON.parse(text)
    return value !== null && typeof value === 'object' && !Array.isArray(value) ? value : 'invalid'
  } catch {
    return 'invalid'
  }
}

const blanks = fc.string({ unit: fc.constantFrom(' ', '\n', '\r', '\t'), maxLength: 3 })
const hex = (character: string) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
/** A JSON string, each character as it is or escaped in any way there is. */
const spelt = (text: string) =>
  fc.tuple(...Array.from(text, () => fc.nat(5))).map(
    (ways) =>
      `"${Array.from(text, (character, i) => {
        if (ways[i] === 0 && character.length === 1) return hex(character)
        if (ways[i] === 1 && character.length === 1) return hex(character).toUpperCase().replace('\\U', '\\u')
        if (ways[i] === 2 && character === '/') return '\\/'
        return JSON.stringify(character).slice(1, -1)
      }).join('')}"`,
  )
const base64 = fc.base64String({ maxLength: 40 })
const value = fc.oneof(
  { weight: 4, arbitrary: base64.chain(spelt) },
  { weight: 1, arbitrary: fc.json({ maxDepth: 3 }) },
  {
    weight: 1,
    arbitrary: fc.constantFrom('{"chunk":"AAAA"}', '[{"chunk":"x"}]', '"\\"chunk\\":\\"x\\""', '"\\\\"', 'null', '1e5'),
  },
)
const member = fc
  .tuple(
    blanks,
    fc
      .oneof({ weight: 3, arbitrary: fc.constant('chunk') }, fc.constantFrom('action', 'chunk_index', 'chunk2', ''))
      .chain(spelt),
    blanks,
    blanks,
    value,
    blanks,
  )
  .map(([a, key, b, c, each, d]) => `${a}${key}${b}:${c}${each}${d}`)
const object = fc
  .tuple(blanks, fc.array(member, { maxLength: 5 }), blanks)
  .map(([before, members, after]) => `${before}{${members.join(',')}}${after}`)

describe('the JSON of a request', () => {
  test('is what JSON.parse makes of it, whatever the order, the blanks, the escapes and the repeats', () => {
    fc.assert(
      fc.property(object, (text) => {
        expect(read(text)).toEqual(reference(text))
      }),
      { numRuns: 3_000 },
    )
  })

  test('is refused where JSON.parse refuses it: characters lost, added or changed', () => {
    const spoilt = fc
      .tuple(
        object,
        fc.nat(),
        fc.nat(2),
        fc.constantFrom('"', '\\', '{', '}', '[', ']', ',', ':', 'x', '\n', '\u0001', 'chunk'),
      )
      .map(([text, at, drop, add]) => {
        const position = at % (text.length + 1)
        return text.slice(0, position) + add + text.slice(position + drop)
      })
    fc.assert(
      fc.property(spoilt, (text) => {
        const expected = reference(text)
        const got = read(text)
        if (got !== 'invalid') expect(got).toEqual(expected)
        else if (expected !== 'invalid') expect((expected as { chunk: string }).chunk).toMatch(/[^\x20-\x7e\r\n]/)
      }),
      { numRuns: 5_000 },
    )
  })

  test.for([
    ['{"chunk":"AAAA","chunk":5}', { chunk: 5 }],
    ['{"chunk":5,"chunk":"AAAA"}', { chunk: 'AAAA' }],
    ['{"chunk":"AAAA","ch\\u0075nk":"BBBB"}', { chunk: 'BBBB' }],
    ['{"params":{"chunk":"AAAA"}}', { params: { chunk: 'AAAA' } }],
    ['{"chunk":"a\\/b\\u002fc\\nd"}', { chunk: 'a/b/c\nd' }],
    ['{"chunk":"AAAA"', 'invalid'],
    ['{"chunk":"AAAA}', 'invalid'],
    ['{"chunk":"AA\nAA"}', 'invalid'],
    ['{"chunk":"AA\\xAA"}', 'invalid'],
    ['{"chunk":"AA\\u00zzAA"}', 'invalid'],
    ['{"chunk":"AA\\u00"}', 'invalid'],
    ['["chunk","AAAA"]', 'invalid'],
    ['"chunk"', 'invalid'],
    ['', 'invalid'],
    ['null', 'invalid'],
  ] as const)('%s', ([text, expected]) => {
    expect(read(text)).toEqual(expected)
  })

  test('is unescaped whole where an escape stands across two slices', () => {
    for (const shift of [0, 1, 2, 3, 4, 5]) {
      const text = `${'A'.repeat(shift)}${'\\u0041'.repeat(500_000)}`
      expect(read(`{"chunk":"${text}"}`)).toEqual({ chunk: 'A'.repeat(shift + 500_000) })
    }
  })

  test('may have 64 KiB beside its chunk, and any chunk', () => {
    const chunk = 'A'.repeat(1_000_000)
    expect(read(`{"note":"${'x'.repeat(60_000)}","chunk":"${chunk}"}`)).toMatchObject({ chunk })
    expect(() => read(`{"note":"${'x'.repeat(70_000)}","chunk":"${chunk}"}`)).toThrow(/64|65536/)
  })
})

/** Range headers as clients, fuzzers and mistakes make them. */
import fc from 'fast-check'

const position = (size: number) =>
  fc.oneof(
    { weight: 6, arbitrary: fc.integer({ min: 0, max: size + 3 }).map(String) },
    { weight: 1, arbitrary: fc.constantFrom('9007199254740991', '9007199254740992', '9007199254740993', '007') },
    { weight: 1, arbitrary: fc.bigInt({ min: 0n, max: 10n ** 30n }).map(String) },
  )

const spec = (size: number) =>
  fc.oneof(
    { weight: 5, arbitrary: fc.tuple(position(size), position(size)).map(([a, b]) => `${a}-${b}`) },
    { weight: 2, arbitrary: position(size).map((a) => `${a}-`) },
    { weight: 2, arbitrary: position(size).map((n) => `-${n}`) },
    {
      weight: 1,
      arbitrary: fc.constantFrom('-', '', '1', 'a-b', '1-2-3', '--1', '+1-2', '1 -2', '0x1-2', '1.5-2', '٣-٤'),
    },
  )

const ascendingSpecs = (size: number) =>
  fc
    .uniqueArray(fc.integer({ min: 0, max: size + 3 }), { minLength: 2, maxLength: 44 })
    .map((positions) => positions.sort((a, b) => a - b))
    .map((positions) => positions.flatMap((p, i) => (i % 2 ? [`${positions[i - 1]}-${p}`] : [])).join(','))

export const rangeHeader = (size: number): fc.Arbitrary<string> =>
  fc.oneof(
    { weight: 4, arbitrary: spec(size).map((s) => `bytes=${s}`) },
    {
      weight: 4,
      arbitrary: fc
        .tuple(fc.constantFrom('bytes', 'Bytes', 'BYTES'), fc.array(spec(size), { minLength: 1, maxLength: 8 }))
        .chain(([unit, specs]) =>
          fc.constantFrom(',', ', ', ' ,\t', ',,').map((comma) => `${unit}=${specs.join(comma)}`),
        ),
    },
    { weight: 3, arbitrary: ascendingSpecs(size).map((set) => `bytes=${set}`) },
    { weight: 1, arbitrary: fc.constantFrom('bytes', 'bytes=', 'bytes=,', 'items=0-1', 'bytes 0-1', 'x=1=2', '=0-1') },
    { weight: 1, arbitrary: fc.stringMatching(/^(bytes=)?[ -~]{0,12}$/).map((s) => s.trim()) },
  )

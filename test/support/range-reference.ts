/**
 * What RFC 9110 says about a `Range` header, written straight from its text and slowly: byte by byte, in big integers.
 * The tests hold the service against it.
 */

export type RangeAnswer =
  | { status: 200 }
  | { status: 416 }
  /** The bytes asked for, as runs that neither overlap nor touch, in ascending order. */
  | { status: 206; runs: [first: number, last: number][] }

export function referenceAnswer(header: string | undefined, size: number): RangeAnswer {
  // §14.2: no field, or a range unit not understood: as if it were not there. §14.1: units are case-insensitive.
  if (header === undefined) return { status: 200 }
  const equals = header.indexOf('=')
  if (equals === -1 || header.slice(0, equals).toLowerCase() !== 'bytes') return { status: 200 }

  // §14.1.1: range-set = 1#range-spec; §5.6.1.2: empty list elements do not count.
  const specs: string[] = []
  for (const element of header.slice(equals + 1).split(',')) {
    let spec = element
    while (spec.startsWith(' ') || spec.startsWith('\t')) spec = spec.slice(1)
    while (spec.endsWith(' ') || spec.endsWith('\t')) spec = spec.slice(0, -1)
    if (spec.length > 0) specs.push(spec)
  }
  if (specs.length === 0) return { status: 416 }

  const wanted = new Array<boolean>(size).fill(false)
  for (const spec of specs) {
    const dash = spec.indexOf('-')
    const before = spec.slice(0, dash)
    const after = spec.slice(dash + 1)
    const digits = (text: string) => [...text].every((c) => c >= '0' && c <= '9')
    // The contract: a malformed set is refused. A last position before the first makes it invalid.
    if (dash === -1 || !digits(before) || !digits(after) || (before === '' && after === '')) return { status: 416 }
    if (before === '') {
      // §14.1.2: suffix-range; longer than the representation means all of it.
      for (let i = 0; i < size; i++) if (BigInt(size - i) <= BigInt(after)) wanted[i] = true
    } else {
      const first = BigInt(before)
      const last = after === '' ? undefined : BigInt(after)
      if (last !== undefined && last < first) return { status: 416 }
      for (let i = 0; i < size; i++) {
        if (BigInt(i) >= first && (last === undefined || BigInt(i) <= last)) wanted[i] = true
      }
    }
  }

  const runs: [number, number][] = []
  for (let i = 0; i < size; i++) {
    if (!wanted[i]) continue
    const run = runs.at(-1)
    if (run && run[1] === i - 1) run[1] = i
    else runs.push([i, i])
  }
  return runs.length === 0 ? { status: 416 } : { status: 206, runs }
}

/**
 * Conditional requests (RFC 9110 §13): whether a request still makes sense for what is stored now.
 *
 * Pure. A recording never changes after it is stored, so its modification time is a strong validator (§8.8.2.2).
 */

/** What is known of the stored bytes. */
export interface Validators {
  /** A strong entity tag, with its quotes. */
  etag: string
  lastModifiedMs: number
}

/** The request's conditional header fields; a field that is absent is `undefined`. */
export interface Conditions {
  ifMatch?: string | undefined
  ifNoneMatch?: string | undefined
  ifModifiedSince?: string | undefined
  ifUnmodifiedSince?: string | undefined
}

/**
 * Goes through the conditions of a GET or HEAD in the order of RFC 9110 §13.2.2, without `If-Range`.
 *
 * @param nowMs only to tell the century of an obsolete two-digit year (§5.6.7)
 * @returns the status that ends the request, or 200 to go on
 */
export function evaluatePreconditions(conditions: Conditions, stored: Validators, nowMs: number): 200 | 304 | 412 {
  const { ifMatch, ifNoneMatch, ifModifiedSince, ifUnmodifiedSince } = conditions
  const lastModifiedMs = wholeSeconds(stored.lastModifiedMs)

  if (ifMatch !== undefined) {
    if (!lists(ifMatch, stored.etag, strongMatch)) return 412
  } else if (ifUnmodifiedSince !== undefined) {
    const sinceMs = parseHttpDate(ifUnmodifiedSince, nowMs)
    if (sinceMs !== undefined && lastModifiedMs > sinceMs) return 412
  }

  if (ifNoneMatch !== undefined) {
    if (lists(ifNoneMatch, stored.etag, weakMatch)) return 304
  } else if (ifModifiedSince !== undefined) {
    const sinceMs = parseHttpDate(ifModifiedSince, nowMs)
    if (sinceMs !== undefined && lastModifiedMs <= sinceMs) return 304
  }
  return 200
}

/**
 * Whether `Range` counts: there is no `If-Range`, or it names what is stored by its strong tag or exact date.
 *
 * @see RFC 9110 §13.1.5
 */
export function rangeApplies(ifRange: string | undefined, stored: Validators, nowMs: number): boolean {
  if (ifRange === undefined) return true
  if (/^(W\/)?"/.test(ifRange)) return strongMatch(ifRange, stored.etag)
  return parseHttpDate(ifRange, nowMs) === wholeSeconds(stored.lastModifiedMs)
}

/** HTTP dates have no fraction. */
const wholeSeconds = (ms: number): number => Math.floor(ms / 1000) * 1000

/** Entity tags are opaque: a comma, a space or a backslash inside the quotes is part of the tag (RFC 9110 §8.8.3). */
const ENTITY_TAG = /^(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*"/

const strongMatch = (given: string, etag: string): boolean => given === etag && !etag.startsWith('W/')
const weakMatch = (given: string, etag: string): boolean => given.replace(/^W\//, '') === etag.replace(/^W\//, '')

/** Whether a list of entity tags, or `*`, names `etag`. What is no tag matches nothing, and ends the list. */
function lists(header: string, etag: string, matches: (given: string, etag: string) => boolean): boolean {
  if (header.trim() === '*') return true
  let rest = header
  while (true) {
    rest = rest.replace(/^[ \t,]+/, '')
    const tag = ENTITY_TAG.exec(rest)?.[0]
    if (tag === undefined) return false
    rest = rest.slice(tag.length)
    if (!/^[ \t]*(,|$)/.test(rest)) return false
    if (matches(tag, etag)) return true
  }
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']
const TIME = String.raw`(?<h>\d\d):(?<m>\d\d):(?<s>\d\d)`
const MONTH = `(?<month>${MONTHS.join('|')})`
const HTTP_DATES = [
  // IMF-fixdate: Sun, 06 Nov 1994 08:49:37 GMT
  new RegExp(String.raw`^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (?<day>\d\d) ${MONTH} (?<year>\d{4}) ${TIME} GMT$`),
  // rfc850-date: Sunday, 06-Nov-94 08:49:37 GMT
  new RegExp(String.raw`^(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, (?<day>\d\d)-${MONTH}-(?<year>\d\d) ${TIME} GMT$`),
  // asctime-date: Sun Nov  6 08:49:37 1994
  new RegExp(String.raw`^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) ${MONTH} (?<day>[ \d]\d) ${TIME} (?<year>\d{4})$`),
]

/**
 * Milliseconds since the epoch of an HTTP date in any of the three forms that a recipient must take; `undefined` for
 * anything else, which the conditional fields then ignore. `Date.parse` would take nearly everything.
 *
 * @param nowMs a two-digit year that seems more than 50 years ahead of this is in the past
 * @see RFC 9110 §5.6.7
 */
export function parseHttpDate(value: string, nowMs: number): number | undefined {
  for (const form of HTTP_DATES) {
    const fields = form.exec(value.trim())?.groups
    if (!fields) continue
    const number = (name: string) => Number(fields[name])
    const [day, hour, minute, second] = [number('day'), number('h'), number('m'), number('s')]
    const month = MONTHS.indexOf(fields.month ?? '')
    let year = number('year')
    if (fields.year?.length === 2) {
      const thisYear = new Date(nowMs).getUTCFullYear()
      year += thisYear - (thisYear % 100)
      if (year > thisYear + 50) year -= 100
    }
    const date = new Date(0)
    date.setUTCFullYear(year, month, day)
    if (day < 1 || date.getUTCDate() !== day || hour > 23 || minute > 59 || second > 60) return undefined
    return date.setUTCHours(hour, minute, second)
  }
  return undefined
}

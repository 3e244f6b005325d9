/**
 * What is wrong with a value, in words that end the sentence "The parameter … is not valid: it …".
 *
 * A schema's own message comes before these.
 */
import { z } from 'zod'

const TYPES: Record<string, string> = {
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  object: 'a JSON object',
  array: 'a list',
}

const bound = (origin: string, words: string, limit: unknown) =>
  origin === 'string' ? `must have ${limit} characters ${words}` : `must be ${limit} ${words}`

/** For `safeParse`, in place of the library's own words. */
export function inPlainWords(issue: z.core.$ZodRawIssue): string {
  switch (issue.code) {
    case 'invalid_type':
      return `must be ${TYPES[issue.expected] ?? 'of another type'}`
    case 'invalid_value':
      return `must be one of ${issue.values.join(', ')}`
    case 'too_small':
      return bound(issue.origin, 'or more', issue.minimum)
    case 'too_big':
      return bound(issue.origin, 'at most', issue.maximum)
    case 'invalid_format':
      return issue.format === 'datetime'
        ? 'must be a time as of RFC 3339, such as 2026-11-22T07:15:30Z'
        : 'is not well formed'
    default:
      return 'is not one that is taken'
  }
}

/** A whole number, which says its bounds whatever is wrong with it. */
export function wholeNumber(min: number, max?: number) {
  const error = `must be a whole number ${max === undefined ? `of ${min} or more` : `from ${min} to ${max}`}`
  const schema = z.number({ error }).int({ error }).min(min, { error })
  return max === undefined ? schema : schema.max(max, { error })
}

/** The same of text, as queries and forms have it; a number is one too. */
export const wholeNumberInText = (min: number, max: number) =>
  z.preprocess(
    (value) => (typeof value === 'string' && /^\d{1,9}$/.test(value) ? Number(value) : value),
    wholeNumber(min, max),
  )

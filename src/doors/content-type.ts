/**
 * Media types and the parameters of headers, as clients write them (RFC 9110 §8.3.1).
 */

const NAME = "([\\w!#$%&'*+.^`|~-]+)"
const QUOTED = '"((?:[^"\\\\]|\\\\[^])*)"'

/** The media type of a `Content-Type` in lower case, and its parameters by their names in lower case. */
export function parseContentType(header: string | undefined): { type: string; parameters: Map<string, string> } {
  const [type = ''] = /^[^;]*/.exec(header ?? '') ?? []
  return { type: type.trim().toLowerCase(), parameters: parametersOf((header ?? '').slice(type.length)) }
}

/** What follows a header's value: `; name=value` or `; name="value"`, of one name the first. */
export function parametersOf(text: string): Map<string, string> {
  const parameters = new Map<string, string>()
  for (const [, name = '', quoted, token] of text.matchAll(
    new RegExp(`;\\s*${NAME}\\s*=\\s*(?:${QUOTED}|([^;\\s]*))`, 'g'),
  )) {
    const key = name.toLowerCase()
    // Old browsers send `C:\calls\a.wav` as it is: only what must be escaped is taken for escaped.
    if (!parameters.has(key)) parameters.set(key, quoted?.replace(/\\(["\\])/g, '$1') ?? token ?? '')
  }
  return parameters
}

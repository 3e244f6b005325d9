/** CSV as it is written (RFC 4180): lines that end with CRLF, nothing between two commas for null, `""` for an empty text. */

/** What a spreadsheet would take for a formula, and run. */
const FORMULA = /^[=+\-@\t\r]/
/** What would not be read back as it is without quotes. */
const NEEDS_QUOTES = /[",\r\n]|^\s|\s$|^$/

function cell(value: unknown, forSpreadsheet: boolean): string {
  if (value === null || value === undefined) return ''
  if (typeof value === 'number') return String(value)
  const text = String(value)
  // An apostrophe is how spreadsheets are told that a cell is text.
  const safe = forSpreadsheet && FORMULA.test(text) ? `'${text}` : text
  return NEEDS_QUOTES.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe
}

export const csvLine = (values: readonly unknown[], forSpreadsheet: boolean): string =>
  `${values.map((value) => cell(value, forSpreadsheet)).join(',')}\r\n`

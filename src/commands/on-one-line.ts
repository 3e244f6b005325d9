/** What a terminal would obey, or show as another line, or backwards: files, rows and servers have names that others chose. */
const OBEYED = /[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/gu
/** The same, but for what ends a line. */
const OBEYED_IN_LINES = /(?!\n)[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/gu

const RUNS = /[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]+/gu

const escaped = (character: string) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`

/** The text with such characters as JSON would write them. */
export const onOneLine = (text: string): string => text.replace(OBEYED, escaped)
/** The text with a blank for each run of them. */
export const blanked = (text: string): string => text.replace(RUNS, ' ')
export const onItsLines = (text: string): string => text.replace(OBEYED_IN_LINES, escaped)

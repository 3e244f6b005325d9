/** Text that every database keeps as it came. */

/** Without NUL, which PostgreSQL refuses, and without halves of surrogate pairs, which UTF-8 has no bytes for: they would come back as another. */
export const isKeepable = (text: string): boolean => text.isWellFormed() && !text.includes('\0')

/** The way to a text that is not, in what a request said; undefined where all are. */
export function unkeepableIn(value: unknown, at: string[] = []): string[] | undefined {
  if (typeof value === 'string') return isKeepable(value) ? undefined : at
  if (typeof value !== 'object' || value === null) return undefined
  for (const [name, part] of Object.entries(value)) {
    const found = unkeepableIn(part, [...at, name])
    if (found) return found
  }
  return undefined
}

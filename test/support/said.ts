/** What a command says, for tests that call it as a function. */
import type { Fields, Item, Output } from '../../src/commands/output.ts'

export interface Said extends Output {
  readonly lines: string[]
  readonly items: Item[]
  readonly sums: Fields
}

export function said(isJson = false): Said {
  const lines: string[] = []
  const items: Item[] = []
  const sums: Record<string, Fields[string]> = {}
  const both = (item: Item, text: string) => {
    items.push(item)
    lines.push(text)
  }
  return {
    isJson,
    lines,
    items,
    sums,
    tell: both,
    warn: both,
    say: (text) => void lines.push(text),
    sum(fields, text) {
      Object.assign(sums, fields)
      if (text !== undefined) lines.push(text)
    },
  }
}

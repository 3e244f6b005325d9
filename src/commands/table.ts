/** A table for people: columns as wide as what is in them, the heads in bold where a terminal shows it. */
import { stripVTControlCharacters, styleText } from 'node:util'
import { blanked } from './on-one-line.ts'

const WIDEST = 60

/** On one line, whatever a client named its file. */
function plain(value: string): string {
  const text = blanked(stripVTControlCharacters(value))
  return text.length > WIDEST ? `${text.slice(0, WIDEST - 1)}…` : text
}

/** @returns lines, the heads first */
export function table(heads: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const cells = rows.map((row) => row.map(plain))
  const widths = heads.map((head, i) => Math.max(head.length, ...cells.map((row) => row[i]?.length ?? 0)))
  const line = (row: readonly string[]) =>
    row
      .map((cell, i) => cell.padEnd(widths[i] as number))
      .join('  ')
      .trimEnd()
  return [styleText('bold', line(heads), { stream: process.stdout }), ...cells.map(line)]
}

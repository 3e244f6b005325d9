/**
 * What a command says. People read sentences; with `--json` a program reads one JSON object a line on stdout: each thing that
 * was found or done has its `type`, and the last one is `{"type":"result","ok":…,"exit_code":…}` with the sums.
 *
 * Names of members are snake_case, as in the HTTP contract. Nothing secret is said either way.
 */

import { onItsLines, onOneLine } from './on-one-line.ts'

type Json = string | number | boolean | null | undefined | readonly Json[] | { readonly [name: string]: Json }
export type Fields = Readonly<Record<string, Json>>
/** One thing that was found or done. */
export type Item = Fields & { readonly type: string }

export interface Output {
  readonly isJson: boolean
  /** One thing; for people a line on stdout. */
  tell(item: Item, text: string): void
  /** One thing that is wrong; for people a line on stderr. */
  warn(item: Item, text: string): void
  /** For people alone, on stdout, as it is: in words of ours. */
  say(text: string): void
  /** What the `result` holds in the end; for people a line on stdout. */
  sum(fields: Fields, text?: string): void
}

export interface EndingOutput extends Output {
  /**
   * The last that is said.
   *
   * @param error what ended the command; people are told it on stderr
   * @param isTold they have been
   */
  end(exitCode: number, error?: string, isTold?: boolean): void
}

export function createOutput(isJson: boolean): EndingOutput {
  const line = (text: string) => void process.stdout.write(`${text}\n`)
  const object = (fields: Fields) => line(onOneLine(JSON.stringify(fields)))
  const complain = (text: string) => void process.stderr.write(`${text}\n`)
  let sums: Fields = {}
  return {
    isJson,
    tell: (item, text) => (isJson ? object(item) : line(onOneLine(text))),
    warn: (item, text) => (isJson ? object(item) : complain(onOneLine(text))),
    say(text) {
      if (!isJson) line(text)
    },
    sum(fields, text) {
      sums = { ...sums, ...fields }
      if (!isJson && text !== undefined) line(onItsLines(text))
    },
    end(exitCode, error, isTold = false) {
      if (error !== undefined && error !== '' && !isTold) complain(onItsLines(error))
      if (isJson) object({ type: 'result', ok: exitCode === 0, exit_code: exitCode, ...sums, error })
    },
  }
}

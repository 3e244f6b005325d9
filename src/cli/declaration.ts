/**
 * How a command is declared.
 *
 * To add one: write what it does as a plain function in `src/commands/`, `(config, options, output) => Promise<exit code>`, which
 * says what it has to say to its `Output` and asks by `confirm` before it does what can't be undone; declare it in a file of
 * `src/cli/`, where `run` loads that function by `await import`, so that `start` and `--help` load none of it; name it in
 * `src/cli/catalogue.ts`. `--json`, `--help`, suggestions for words mistyped, exit codes and completion come by themselves. Its
 * line in docs/operating.md, "Commands", is held against the catalogue by a test.
 *
 * Exit codes are the same everywhere: 0 all is well; 1 something was found, or failed; 2 the command could not be understood, or
 * may not be done so. A function returns 0 or 1, and throws an `Error` with a sentence for operators (1) or a `UsageError` (2).
 */
import type { Command } from 'commander'
import type { Output } from '../commands/output.ts'

export interface Call<Options> {
  /** What stands behind the command and is no option; variadic ones one by one. */
  words: readonly string[]
  /** By commander's names: `--dry-run` is `dryRun`; undefined where it is not given. */
  options: Options
  output: Output
}

type Example = readonly [line: string, what: string]

export interface Declaration<Options = object> {
  /** As it is typed: `verify`, `config check`. */
  name: string
  /** One line, for the list of all commands. */
  summary: string
  /** What its help says beyond that: what it needs, what it never does. */
  about?: string
  /** A line to copy, and what it is for. */
  examples: readonly [Example, ...Example[]]
  /** What exit code 1 tells. */
  fails: string
  /** Adds arguments and options; their `parse` throws commander's `InvalidArgumentError`. */
  shape?(command: Command): Command
  /** @returns the exit code; undefined where the process goes on by itself */
  run(call: Call<Options>): Promise<number | undefined>
}

/** Options keep their types within a declaration, and are none of the catalogue's business. */
export const declare = <Options>(declaration: Declaration<Options>): Declaration => declaration as Declaration

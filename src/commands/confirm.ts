/** What can't be undone is asked about first: `--yes` on the command line, or a person's answer in a terminal. */
import { createInterface } from 'node:readline/promises'
import { UsageError } from './usage-error.ts'

/** A person said no. */
export class Declined extends Error {
  override name = 'Declined'

  constructor() {
    super('nothing was done')
  }
}

/**
 * Resolves when it may be done.
 *
 * @param what will be done, as a sentence without its full stop: `removes 3 recordings of the target`
 * @throws UsageError where no terminal is there to ask in; Declined (exit code 1) where the answer is no
 */
export async function confirm(what: string, yes: boolean | undefined): Promise<void> {
  if (yes) return
  if (!process.stdin.isTTY || !process.stderr.isTTY) {
    throw new UsageError(`This ${what}: say so with --yes, since there is no terminal to ask in. Nothing was done.`)
  }
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  try {
    const answer = await terminal.question(`This ${what}. Go on? [y/N] `)
    if (!/^y(es)?$/i.test(answer.trim())) throw new Declined()
  } finally {
    terminal.close()
  }
}

/**
 * The command line: `start` as it usually comes at once, all else by the program in `cli/`, whose parser a server has no need of.
 */
import { tellSourcesInStacks } from './process/stack-traces.ts'

/** @param argv the words after the program's name; resolves when the command is done, the server's when it listens */
export async function main(argv: readonly string[]): Promise<void> {
  if (!import.meta.url.endsWith('.ts')) tellSourcesInStacks(new URL('./', import.meta.url))
  const [command, option, ...more] = argv
  if (command === 'start' && (option === undefined || option === '--with-parent') && more.length === 0) {
    await import('./main.ts')
    return
  }
  const { runProgram } = await import('./cli/program.ts')
  await runProgram(argv)
}

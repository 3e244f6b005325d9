/**
 * The operator's commands.
 */

const USAGE = `call-recordings COMMAND

  start     runs the server (settings come from the environment: docs/operating.md)
`

/** @param argv the words after the program's name; resolves when the command is done, the server's when it listens */
export async function main(argv: readonly string[]): Promise<void> {
  const [command] = argv
  switch (command) {
    case 'start':
      await import('./main.ts')
      return
    case undefined:
    case 'help':
    case '--help':
      process.stdout.write(USAGE)
      return
    default:
      process.stderr.write(`unknown command ${command}\n\n${USAGE}`)
      process.exitCode = 2
  }
}

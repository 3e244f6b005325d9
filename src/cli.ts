/**
 * The operator's commands.
 */
import { parseArgs } from 'node:util'
import { tellSourcesInStacks } from './process/stack-traces.ts'

const USAGE = `call-recordings COMMAND

  start             runs the server (settings come from the environment: docs/operating.md)
    --with-parent   ends it also when the process that started it has ended
  verify            compares every recording with its size and SHA-256; exit code 1 on damage
  backup DIR        copies the database and all recordings into a new directory, while the server runs; over PostgreSQL
                    and S3, what pg_dump and the bucket do not cover
  sweep --dry-run   shows what the sweep would do, also while the server runs
  sweep             does it; a server on this disk must be down, since it sweeps by itself
    --unknown       also sets recordings aside that the database has never heard of; the sweep removes them after a week
  migrate --to FILE brings everything into another home (SQLite and disk, or PostgreSQL and S3), of which FILE has the
                    settings; first beside the running server, then once more with it down
    --dry-run       shows what it would do
    --remove-others also removes recordings at the target that the source does not have
  check-store       tries what is needed of the S3 store of RECORDINGS_STORE; exit code 1 when something is missing
`

/** Of those that have any. */
const OPTIONS: Readonly<Record<string, readonly string[]>> = {
  sweep: ['dry-run', 'unknown'],
  migrate: ['to', 'dry-run', 'remove-others'],
}

/** A command that could not be understood. */
class UsageError extends Error {
  override name = 'UsageError'
}

function wordsOf(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        'dry-run': { type: 'boolean' },
        unknown: { type: 'boolean' },
        to: { type: 'string' },
        'remove-others': { type: 'boolean' },
      },
    })
  } catch (error) {
    throw new UsageError((error as Error).message)
  }
}

/** @returns the exit code */
async function run(command: string, argv: readonly string[]): Promise<number> {
  const { readConfig, readStore } = await import('./config/config.ts')
  const { positionals, values } = wordsOf(argv)
  const [directory, ...more] = positionals
  const takesDirectory = command === 'backup'
  if (takesDirectory === (directory === undefined) || more.length > 0) {
    throw new UsageError(takesDirectory ? 'backup needs one directory' : `${command} takes no directory`)
  }
  const given = Object.keys(values)
  const known = OPTIONS[command] ?? []
  const foreign = given.find((name) => !known.includes(name))
  if (foreign !== undefined) {
    throw new UsageError(known.length === 0 ? `${command} has no options` : `${command} has no option --${foreign}`)
  }
  const dryRun = values['dry-run'] ?? false
  switch (command) {
    case 'verify':
      return (await import('./commands/verify.ts')).verify(readConfig())
    case 'backup':
      return (await import('./commands/backup.ts')).backup(readConfig(), directory as string)
    case 'check-store':
      return (await import('./commands/check-store.ts')).checkStore(readStore())
    case 'migrate': {
      const { to, 'remove-others': removeOthers = false } = values
      if (!to) throw new UsageError('migrate needs --to and a file of settings')
      return (await import('./commands/migrate.ts')).migrate(readConfig(), { to, dryRun, removeOthers })
    }
    default: {
      const { sweep } = await import('./commands/sweep.ts')
      return sweep(readConfig(), { dryRun, unknown: values.unknown ?? false })
    }
  }
}

/** @param argv the words after the program's name; resolves when the command is done, the server's when it listens */
export async function main(argv: readonly string[]): Promise<void> {
  if (!import.meta.url.endsWith('.ts')) tellSourcesInStacks(new URL('./', import.meta.url))
  const [command, ...rest] = argv.includes('--help') ? ['--help'] : argv
  switch (command) {
    case 'start':
      if (rest.length === 0 || (rest.length === 1 && rest[0] === '--with-parent')) {
        await import('./main.ts')
        return
      }
      process.stderr.write(`start takes no ${rest.join(' ')}\n\n${USAGE}`)
      process.exitCode = 2
      return
    case 'verify':
    case 'backup':
    case 'sweep':
    case 'migrate':
    case 'check-store':
      try {
        process.exitCode = await run(command, rest)
      } catch (error) {
        if (!(error instanceof Error) || error.name === 'ConfigError') throw error
        const isUsage = error instanceof UsageError
        process.stderr.write(`${error.message}\n${isUsage ? `\n${USAGE}` : ''}`)
        process.exitCode = isUsage ? 2 : 1
      }
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

/** The program: the catalogue's commands as commander takes them, and the exit code that each ends with. */
import { Command, CommanderError } from 'commander'
import { createOutput } from '../commands/output.ts'
import { VERSION } from '../process/version.ts'
import { CATALOGUE } from './catalogue.ts'
import type { Declaration } from './declaration.ts'
import { endWhenBrokenOff } from './ending-signals.ts'
import { wordsOf } from './fault-words.ts'

const NAME = 'call-recordings'
const ENV_OPTION = ['--env-file <file>', 'settings that the environment does not give, as `NAME=value` lines'] as const
const JSON_OPTION = ['--json', 'says it as JSON: an object a line, the last one of type `result`'] as const

/** What stands ahead of a word in the name of a command. */
const PARENTS: Readonly<Record<string, string>> = { config: 'the settings: `config check`' }

const column = (rows: readonly (readonly [string, string])[]) => {
  const width = Math.max(...rows.map(([left]) => left.length))
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`).join('\n')
}

function help({ about, examples, fails }: Declaration): string {
  const codes = column([
    ['0', 'all is well'],
    ['1', fails],
    ['2', 'the command could not be understood, or may not be done so; nothing was done'],
  ])
  const heading = examples.length > 1 ? 'Examples:' : 'Example:'
  // A long line of a command stays one, to be copied.
  const lines = examples.map(([line, what]) => `  ${NAME} ${line}\n      ${what}`).join('\n')
  return `${about ? `\n${about}\n` : ''}\n${heading}\n${lines}\n\nExit codes:\n${codes}`
}

/** The command, under its parent if it has one. */
function place(program: Command, name: string, heading: string): Command {
  const [first = '', second] = name.split(' ')
  if (second === undefined) return program.command(first)
  const parent = program.commands.find((each) => each.name() === first) ?? program.command(first)
  return parent
    .description(PARENTS[first] ?? '')
    .helpGroup(heading)
    .command(second)
}

type Act = (declaration: Declaration, command: Command) => Promise<void>

function build(act: Act, without: (name: string) => boolean = () => false): Command {
  const program = new Command(NAME)
    .description('Takes in call recordings and plays them back. Settings come from the environment: docs/operating.md.')
    .version(VERSION, '-v, --version', 'the version of this program')
    .helpOption('-h, --help', 'how it is called')
    .helpCommand('help [command]', 'how a command is called')
    .showHelpAfterError(`(${NAME} --help tells what there is)`)
    .exitOverride()
  for (const [heading, declarations] of CATALOGUE) {
    for (const declaration of declarations) {
      const { name, summary, shape = (command) => command } = declaration
      if (without(name)) continue
      const command = shape(place(program, name, heading).description(summary))
      if (name !== 'start' && name !== 'complete') command.option(...ENV_OPTION).option(...JSON_OPTION)
      command
        .helpGroup(heading)
        .showHelpAfterError(`(${NAME} ${name} --help tells how it is called)`)
        .addHelpText('after', help(declaration))
        .action(() => act(declaration, command))
    }
  }
  return program
}

/** The file that a unit's `EnvironmentFile` or `docker --env-file` names will do. */
function takeSettings(file: string): void {
  try {
    process.loadEnvFile(file)
  } catch (error) {
    throw new Error(`--env-file: ${(error as Error).message}`)
  }
}

/** Runs a command, with what it says. */
const carryOut: Act = async ({ name, run }, command) => {
  const { json, envFile, ...options } = command.opts<{ json?: true; envFile?: string }>()
  const output = createOutput(json === true)
  // A server has its own way to end.
  const done = name === 'start' ? () => {} : endWhenBrokenOff(output)
  try {
    if (envFile !== undefined) takeSettings(envFile)
    const code = await run({
      words: command.processedArgs.flat().filter((word) => word !== undefined),
      options,
      output,
    })
    if (code === undefined) return
    output.end(code)
    process.exitCode = code
  } catch (error) {
    if (!(error instanceof Error)) throw error
    process.exitCode = error.name === 'UsageError' ? 2 : 1
    output.end(process.exitCode, wordsOf(error))
  } finally {
    done()
  }
}

/** Completion is answered by what knows the whole program: `complete bash`, and `complete -- WORD…`, which that asks. */
async function complete(argv: readonly string[]): Promise<void> {
  const { default: tab } = await import('@bomb.sh/tab/commander')
  const program = build(carryOut, (name) => name === 'complete')
  tab(program)
  await program.parseAsync([...argv], { from: 'user' })
}

/** @param argv the words after the program's name */
export async function runProgram(argv: readonly string[]): Promise<void> {
  // A reader that has seen enough (`| head`) is no fault; the command goes on.
  process.stdout.on('error', ({ code }: NodeJS.ErrnoException) => {
    if (code === 'EPIPE') return
    process.stderr.write(`stdout can't be written (${code}): what came of it is not told\n`)
    process.exit(1)
  })
  // There is no other place to say that it can't be said.
  process.stderr.on('error', () => {})
  try {
    if (argv[0] === 'complete' && argv.length > 1 && !argv.includes('--help')) return await complete(argv)
    await build(carryOut).parseAsync(argv.length === 0 ? ['--help'] : [...argv], { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    // Help and the version were asked for; all else that commander ends with is what it did not understand.
    process.exitCode = error.exitCode === 0 ? 0 : 2
    if (process.exitCode === 2 && argv.includes('--json')) {
      createOutput(true).end(2, error.message.replace(/^error: /, ''), true)
    }
  }
}

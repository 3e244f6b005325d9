/** Commands about the server itself. */
import { declare } from './declaration.ts'

export const startCommand = declare({
  name: 'start',
  summary: 'runs the server; settings come from the environment (docs/operating.md)',
  about: 'Its log is JSON, one line each, on stdout; a terminal gets it drawn.',
  examples: [
    ['start', 'until SIGTERM or Ctrl-C'],
    ['start --with-parent', 'as `npm start` does'],
  ],
  fails: 'the service could not start; all that is wrong with the settings is told at once',
  shape: (command) => command.option('--with-parent', 'ends it also when the process that started it has ended'),
  async run() {
    await import('../main.ts')
    return undefined
  },
})

interface TokenWords {
  sub: string
  role: string
  for: string
  yes?: true
}

export const tokenCommand = declare<TokenWords>({
  name: 'token',
  summary: "signs a token with the server's secret",
  about:
    'Writes it to stdout, alone. With RECORDINGS_JWKS_URL or RECORDINGS_JWKS_FILE the login that has the private keys signs tokens, and ' +
    'not this command.',
  examples: [
    ['token --sub asha', 'a telecaller, for an hour'],
    ['token --sub crm --role service --for 12h', "the CRM's back end"],
  ],
  fails: 'there is no secret to sign with',
  shape: (command) =>
    command
      .requiredOption('--sub <id>', 'whose token it is')
      .option('--role <role>', 'telecaller, supervisor or service', 'telecaller')
      .option('--for <time>', 'how long it is good, such as 10m, 1h or 7d', '1h')
      .option('-y, --yes', 'in production: does so without asking in a terminal'),
  async run({ options: { yes = false, ...words }, output }) {
    const { readConfig } = await import('../config/config.ts')
    const { token } = await import('../commands/token.ts')
    return token(readConfig(), { ...words, yes }, output)
  },
})

export const configCheckCommand = declare({
  name: 'config check',
  summary: 'shows every setting in effect, and all that is wrong with them',
  about: 'Secrets are not shown. Looks at the directories and the file of keys too, and makes nothing.',
  examples: [
    ['config check', 'before a start: what that would say'],
    ['config check --json', 'the same for programs: an object for each setting'],
  ],
  fails: 'a setting is wrong, or a directory or a file that it names',
  async run({ output }) {
    const { checkConfig } = await import('../commands/config-check.ts')
    return checkConfig(output)
  },
})

export const doctorCommand = declare({
  name: 'doctor',
  summary: 'looks at all that the server needs of its machine and its neighbours',
  about:
    'Node, settings, directories and what they lie on, permissions, space, keys, database, store, clock, port, and whether nginx can ' +
    "read the recordings: a line each, with what to do. Run it as the service's user. Changes nothing; works beside a running server.",
  examples: [
    ['doctor', 'before the first start, and when something is wrong'],
    ['doctor --env-file /etc/call-recordings.env', "with the settings of the server's unit"],
  ],
  fails: 'something is bad',
  async run({ output }) {
    const { doctor } = await import('../commands/doctor.ts')
    return doctor(output)
  },
})

export const completeCommand = declare({
  name: 'complete',
  summary: 'prints what a shell needs to complete the words of this command',
  examples: [
    ['complete bash > ~/.local/share/bash-completion/completions/call-recordings', 'for all shells to come'],
    ['complete zsh > ~/.zfunc/_call-recordings', 'the same for zsh, where ~/.zfunc is in $fpath'],
    ['complete fish > ~/.config/fish/completions/call-recordings.fish', 'the same for fish'],
  ],
  fails: 'the shell is not known',
  shape: (command) => command.argument('<shell>', 'bash, zsh, fish or powershell'),
  // What completes takes the program as a whole, and so does it: src/cli/program.ts.
  run: async () => 2,
})

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

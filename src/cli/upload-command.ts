/** The command that brings files to a server as its clients do. */
import { type Command, Option } from 'commander'
import { declare } from './declaration.ts'
import { wholeNumber } from './option-values.ts'

interface UploadWords {
  lead?: string
  callLog?: string
  pattern?: string
  server?: string
  token?: string
  tokenFile?: string
  parallel: number
  dryRun?: true
  yes?: true
}

const token = new Option(
  '--token <token>',
  'a login of the server; in the environment or a file it is seen by fewer',
).env('RECORDINGS_TOKEN')

export const uploadCommand = declare<UploadWords>({
  name: 'upload',
  summary: 'uploads audio files, or a folder of them, several at once',
  about:
    'Goes on where an earlier run ended, and sends nothing again that is there: the Idempotency-Key of an upload is made of the\n' +
    'bytes, the lead and the call. A pattern is of the file name, or of the path below a folder: {lead} and {call_log} are ids,\n' +
    '{ext} is an extension, {any} is anything. Without a token, one is made with the secret of the server on this machine.',
  examples: [
    ['upload call.wav --lead lead-17 --call-log call-4711', 'one file, to the server on this machine'],
    ["upload /mnt/calls --pattern '{lead}.{call_log}.{ext}' --dry-run", 'tells which file is of which call'],
    [
      "upload /mnt/calls --pattern '{lead}/{call_log}.{ext}' --server https://recordings.example --token-file token",
      'a folder for each lead',
    ],
  ],
  fails: 'a file was not uploaded: each with its reason, and whether it may pass',
  shape: (command: Command) =>
    command
      .argument('<file...>', 'files and folders')
      .option('--lead <id>', 'the lead of all files, unless the pattern has it')
      .option('--call-log <id>', 'the call of all files, unless the pattern has it')
      .option('--pattern <pattern>', 'how names tell the lead and the call')
      .option('--server <url>', 'the address of the server; without it, that of HOST and PORT')
      .addOption(token)
      .option('--token-file <file>', 'a file that holds a token; read again for each request')
      .option('--parallel <count>', 'how many at once', wholeNumber(1, 16), 3)
      .option('--dry-run', 'only tells which file is of which call')
      .option('-y, --yes', 'makes a login in production without asking in a terminal'),
  async run({ words, options, output }) {
    const { readConfig } = await import('../config/config.ts')
    const { upload } = await import('../commands/upload-files.ts')
    // The tus client parses addresses in a way that Node warns of, in the package alone: nothing that an operator could do.
    process.noDeprecation = true
    const { dryRun = false, yes = false, ...more } = options
    return upload(readConfig, { words, dryRun, yes, ...more }, output)
  },
})

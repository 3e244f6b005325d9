/** Commands about what a server keeps: its tables and its recordings. */
import { declare } from './declaration.ts'

interface SweepWords {
  dryRun?: true
  unknown?: true
  yes?: true
}

interface MigrateWords {
  to: string
  dryRun?: true
  removeOthers?: true
  yes?: true
}

interface VerifyWords {
  since?: string
  sample?: string
  state?: string
}

export const verifyCommand = declare<VerifyWords>({
  name: 'verify',
  summary: 'compares every recording with its size and SHA-256',
  about: 'Only reads; works beside running servers.',
  examples: [
    ['verify', 'reads all recordings, and names those that are not as they were stored'],
    ['verify --state /var/tmp/verify.json', 'goes on where it was broken off'],
    ['verify --since 1d --sample 5%', 'one in twenty of those of the last day'],
  ],
  fails: 'a recording is damaged or missing',
  shape: (command) =>
    command
      .option('--since <when>', 'only recordings stored since: 2026-11-01, 2026-11-01T08:00:00Z, or 7d ago')
      .option('--sample <count>', 'only so many of them, by chance: 1000, or 5%')
      .option(
        '--state <file>',
        'goes on from this file if it is there, and keeps in it how far it is until all is read',
      ),
  async run({ options, output }) {
    const { readConfig } = await import('../config/config.ts')
    const { verify } = await import('../commands/verify.ts')
    return verify(readConfig(), options, output)
  },
})

export const backupCommand = declare({
  name: 'backup',
  summary: 'copies the database and all recordings into a new directory',
  about:
    'Works while the server runs; the copy appears when it is complete. Over PostgreSQL and S3 it makes what pg_dump and the ' +
    "bucket's own copies do not have.",
  examples: [
    ['backup /mnt/backups/2026-11-26', 'makes that directory; where it is on the same file system, by hard links'],
  ],
  fails: 'a recording could not be taken in; the rest is there',
  shape: (command) => command.argument('<directory>', 'a new one, outside the data directory'),
  async run({ words: [directory = ''], output }) {
    const { readConfig } = await import('../config/config.ts')
    const { backup } = await import('../commands/backup.ts')
    return backup(readConfig(), directory, output)
  },
})

interface RestoreWords {
  despiteDamage?: true
}

export const restoreCommand = declare<RestoreWords>({
  name: 'restore',
  summary: 'brings a backup into an empty place',
  about:
    'The place is what the settings name: RECORDINGS_DATA_DIR, and RECORDINGS_DIR if it lies elsewhere. All of the backup is compared\n' +
    'with its sums before, all of the copy with the database after. It can be broken off and run again. Over PostgreSQL and S3,\n' +
    'where their own tools restore, it compares what they have brought with the backup.',
  examples: [
    ['restore /mnt/backups/2026-11-26', 'with the settings of the new place in the environment'],
    ['restore /mnt/backups/2026-11-26 --despite-damage', 'where some recordings of the backup are damaged: all others'],
  ],
  fails: 'the backup is damaged, or not all of it was restored',
  shape: (command) =>
    command
      .argument('<directory>', 'as backup has made it')
      .option('--despite-damage', 'restores what is not damaged; the rows of what is stay'),
  async run({ words: [directory = ''], options, output }) {
    const { readConfig } = await import('../config/config.ts')
    const { restore } = await import('../commands/restore.ts')
    return restore(readConfig(), { directory, despiteDamage: options.despiteDamage ?? false }, output)
  },
})

export const sweepCommand = declare<SweepWords>({
  name: 'sweep',
  summary: 'does, or shows, what the server does by itself: finishes, ends, forgets, removes leftovers',
  about:
    'A server on this disk must be down, unless with --dry-run. Over PostgreSQL and S3 it is one more instance, and works beside ' +
    'the others.',
  examples: [
    ['sweep --dry-run', 'shows what it would do, also while the server runs'],
    [
      'sweep --unknown --yes',
      'sets aside recordings that no row has ever heard of; the sweep removes them after a week',
    ],
  ],
  fails: 'a step failed, or a server runs on this data directory',
  shape: (command) =>
    command
      .option('--dry-run', 'only shows what it would do')
      .option('--unknown', 'also sets recordings aside that the database has never heard of')
      .option('-y, --yes', 'does so without asking in a terminal'),
  async run({ options, output }) {
    const { readConfig } = await import('../config/config.ts')
    const { sweep } = await import('../commands/sweep.ts')
    const { dryRun = false, unknown = false, yes = false } = options
    return sweep(readConfig(), { dryRun, unknown, yes }, output)
  },
})

export const migrateCommand = declare<MigrateWords>({
  name: 'migrate',
  summary: 'brings everything into another home: SQLite and disk, or PostgreSQL and S3',
  about:
    'First beside the running server, then once more with it down. Nothing is changed at the source. It can be broken off at any ' +
    'point and run again.',
  examples: [
    ['migrate --to /etc/call-recordings/new.env --dry-run', 'shows what it would do'],
    ['migrate --to /etc/call-recordings/new.env', 'copies what is not there yet, and compares both'],
  ],
  fails: 'not all is at the target, or the target has more',
  shape: (command) =>
    command
      .requiredOption('--to <file>', "the other home's settings, as systemd's EnvironmentFile has them")
      .option('--dry-run', 'only shows what it would do')
      .option('--remove-others', 'also removes recordings at the target that the source does not have')
      .option('-y, --yes', 'removes them without asking in a terminal'),
  async run({ options, output }) {
    const { readConfig } = await import('../config/config.ts')
    const { migrate } = await import('../commands/migrate.ts')
    const { to, dryRun = false, removeOthers = false, yes = false } = options
    return migrate(readConfig(), { to, dryRun, removeOthers, yes }, output)
  },
})

export const checkStoreCommand = declare({
  name: 'check-store',
  summary: 'tries what is needed of the S3 store of RECORDINGS_STORE',
  about: 'Leaves nothing behind; works beside running servers. Needs the settings of the store alone.',
  examples: [['check-store', 'a sentence about each thing that the service asks of a store']],
  fails: 'something is missing',
  async run({ output }) {
    const { readStore } = await import('../config/config.ts')
    const { checkStore } = await import('../commands/check-store.ts')
    return checkStore(readStore(), output)
  },
})

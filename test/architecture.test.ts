/**
 * Who may import whom: the table, and the proof that it and the lint rules of biome.json catch what they are for.
 *
 * Packages that a few files alone may know, `process.env`, barrels and cycles are Biome's; what depends on the
 * direction between our own files is here, since Biome tells no type import from another.
 */
import { spawnSync } from 'node:child_process'
import { cpSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'

interface Rule {
  /** Globs under src/; with a `!`, all files but these. */
  files: string[]
  /** What of ours they may import, all else being refused; or … */
  only?: string[]
  /** … what they may not, of ours or a package. */
  never?: string[]
  /** What they may import the types of all the same. */
  types?: string[]
  /** What they may load all the same, when it is needed. */
  lazily?: string[]
  /** Files that may all the same. */
  but?: string[]
  why: string
}

const DOORS = ['doors/**']
const RUN_WHEN_IMPORTED = ['main.ts', 'cli.ts', 'media/inspect-worker.ts']

/** What is put together from the rooms. */
const COMPOSITION = ['main.ts', 'cli.ts', 'serve.ts', 'settings-judged.ts', 'server.ts', 'app.ts', 'service.ts']
/** What every room stands on. */
const GROUND = ['errors.ts', 'events.ts', 'log.ts', 'log-output.ts', 'clock.ts', 'ids.ts', 'timing.ts']

const RULES: Rule[] = [
  { files: ['errors.ts'], only: [], why: 'everything imports it' },
  {
    files: GROUND.filter((file) => file !== 'errors.ts'),
    only: GROUND,
    types: ['config/config.ts'],
    why: 'the ground stands on nothing',
  },
  { files: ['config/*'], only: ['config/*'], why: 'the settings are read before anything else is there' },
  {
    files: ['process/*'],
    // package.json tells the version.
    only: ['process/*', '../package.json'],
    types: ['config/config.ts'],
    why: 'what the system does with the process knows nothing of the service in it',
  },
  {
    files: ['playback/range.ts', 'playback/preconditions.ts'],
    only: ['errors.ts'],
    why: 'they are pure',
  },
  { files: ['media/*'], only: ['media/*'], why: 'what bytes are depends on nothing else' },
  { files: ['media/!(inspect|inspect-worker).ts'], never: ['media/inspect*.ts', 'node:{*,*/*}'], why: 'they are pure' },
  {
    files: ['!media/*'],
    never: ['media/!(inspect|extensions|codecs).ts'],
    why: 'media is looked into in threads alone',
  },
  {
    files: ['storage/**'],
    never: ['config/*', 'db/*', 'media/*', 'uploads/*', 'doors/**', 'http/*'],
    types: ['db/schema.ts', 'config/config.ts'],
    why: 'where bytes lie and the database know nothing of each other: ingest and sweep join them',
  },
  {
    files: ['storage/*'],
    never: ['storage/disk/*', 'storage/s3/*'],
    why: 'a contract knows none of its homes',
  },
  {
    files: ['storage/disk/*'],
    never: ['storage/s3/*'],
    why: 'a disk stands alone',
  },
  {
    files: ['!storage/s3/s3-client.ts'],
    never: ['@aws-sdk/*', '@smithy/*'],
    why: 'one file knows how S3 is spoken to, and loads what does it only where a store is configured',
  },
  {
    files: ['!{storage/**,commands/*,service.ts,settings-judged.ts}'],
    never: ['storage/disk/*', 'storage/s3/*'],
    why: 'whoever has to do with bytes knows the contracts, and the composition alone which home keeps them',
  },
  {
    files: ['!{storage/disk,config,commands}/*'],
    never: ['node:fs', 'node:fs/promises'],
    // docs/architecture.md says of each why. The rest of media has a rule of its own.
    but: ['log-output.ts', 'db/sqlite.ts', 'media/!(inspect).ts', 'process/stack-traces.ts'],
    why: 'where bytes lie is known to their home',
  },
  {
    files: ['db/**'],
    never: [
      'uploads/*',
      'doors/**',
      'storage/**',
      'recordings/*',
      'playback/*',
      'auth/*',
      'leads/*',
      'app.ts',
      'service.ts',
    ],
    why: 'the database knows nothing of what is built on it',
  },
  {
    files: ['uploads/*.ts', 'storage/**', 'leads/rights.ts'],
    never: [...DOORS, 'app.ts', 'http/*', 'auth/*', 'node:http', 'express'],
    why: 'the core knows no HTTP and no tokens',
  },
  {
    files: ['auth/tokens.ts'],
    never: ['db/*', 'uploads/*', 'storage/**', 'http/*', 'node:http', 'express'],
    why: 'a token says who is asking; what they may do is asked elsewhere',
  },
  {
    files: ['playback/send.ts', 'playback/links.ts', 'playback/disposition.ts'],
    never: ['express', 'db/*', 'uploads/*', 'doors/**', 'app.ts', 'service.ts'],
    why: 'what playback is made of knows no routes and no tables',
  },
  {
    files: ['uploads/*', 'doors/**'],
    never: ['playback/playback.ts'],
    why: 'what comes in and what goes out meet in the core',
  },
  {
    files: ['!db/**'],
    never: ['better-sqlite3', 'pg', 'drizzle-orm{,/**}'],
    why: 'SQL lives in db/, and db/ alone knows which database it is',
  },
  {
    files: ['db/!(sqlite|sqlite-file|instance-lock|database).ts'],
    never: [
      'db/sqlite.ts',
      'db/postgres/*',
      'better-sqlite3',
      'pg',
      'drizzle-orm/{better-sqlite3,node-postgres}{,/**}',
    ],
    why: 'statements are data: a driver runs them',
  },
  {
    files: ['db/postgres/*'],
    never: ['db/sqlite.ts', 'better-sqlite3', 'drizzle-orm/better-sqlite3{,/**}'],
    why: 'one dialect knows nothing of the other',
  },
  {
    files: ['!{db/postgres,commands}/*'],
    never: ['db/postgres/*'],
    but: ['service.ts'],
    why: 'the composition alone knows which database it is',
  },
  ...['tus', 'legacy', 'form'].map((door) => ({
    files: [`doors/${door}/*`],
    never: [`doors/!(${door})/*`, 'doors/{recordings-post,open-uploads}{,-contract}.ts'],
    why: 'a door knows no other: legacy and form meet in recordings-post.ts',
  })),
  {
    files: ['doors/!(recordings-post|recordings-post-contract).ts'],
    never: ['doors/*/*'],
    why: 'what doors share knows none of them',
  },
  {
    files: ['!doors/tus/*'],
    never: ['@tus/*'],
    why: 'the tus door keeps its library to itself',
  },
  {
    files: ['cli/*'],
    only: ['cli/*', 'commands/{output,broken-off}.ts', 'process/version.ts'],
    lazily: ['commands/*', 'config/*', 'main.ts'],
    why: 'what a command needs is loaded when it is asked for, so that help and completion are quick',
  },
  {
    files: ['!{cli.ts,cli/*}'],
    never: ['cli/*', 'commander', '@bomb.sh/tab{,/**}'],
    why: 'what a command does knows nothing of how it is called',
  },
  {
    files: ['!{tracing/*,service.ts}'],
    never: ['tracing/*', '@opentelemetry/*'],
    why: 'nothing asks whether there are traces: they watch from outside',
  },
  {
    files: ['!{**/*-contract,http/openapi,http/contract}.ts'],
    never: ['**/*-contract.ts', 'http/contract.ts', 'zod-openapi'],
    why: 'what describes the routes is loaded when it is asked for',
  },
  {
    files: ['!metrics/*'],
    never: ['prom-client', 'metrics/!(metrics|kept-until-asked|routes|listener|metrics-contract).ts'],
    why: 'what is measured knows nothing of what counts it',
  },
  { files: ['!log.ts'], never: ['pino', 'pino-pretty'], why: 'log.ts alone knows what writes the log' },
  {
    files: ['!{main,cli}.ts'],
    never: RUN_WHEN_IMPORTED,
    but: ['cli/server-commands.ts'], // `start`
    why: 'they run when they are imported',
  },
]

/** A line at the margin of a module that only declares; Biome's format puts a statement of its own there too. */
const DECLARES = /^(import|export|const|function|async function|class|interface|type|\/?\*|\/\/| |[)}\]]|$)/

const matches = (file: string, globs: readonly string[]) => globs.some((glob) => path.posix.matchesGlob(file, glob))

function importsOf(file: string, source: string) {
  const statement = /^(?:import|export)\s([^'"`;]*?)from\s+'([^']+)'|^import\s+'([^']+)'|\bimport\(\s*'([^']+)'/gm
  return Array.from(source.matchAll(statement), ([, clause = '', from, bare, dynamic]) => {
    const name = from ?? bare ?? dynamic ?? ''
    const named = /^\{(.*)\}\s*$/s
      .exec(clause)?.[1]
      ?.split(',')
      .filter((part) => part.trim() !== '')
    return {
      target: name.startsWith('.') ? path.posix.join(path.posix.dirname(file), name) : name,
      ours: name.startsWith('.'),
      isLazy: dynamic !== undefined,
      typesOnly: clause.startsWith('type ') || (named?.every((part) => part.trim().startsWith('type ')) ?? false),
    }
  })
}

/** What is wrong with a file, in sentences. */
function faultsOf(file: string, source: string): string[] {
  const faults: string[] = []
  for (const rule of RULES) {
    if (matches(file, rule.but ?? [])) continue
    const [first = ''] = rule.files
    if (first.startsWith('!') ? matches(file, [first.slice(1)]) : !matches(file, rule.files)) continue
    for (const { target, ours, isLazy, typesOnly } of importsOf(file, source)) {
      const refused = rule.only ? ours && !matches(target, rule.only) : matches(target, rule.never ?? [])
      const isTaken = matches(target, [
        ...(typesOnly ? (rule.types ?? []) : []),
        ...(isLazy ? (rule.lazily ?? []) : []),
      ])
      if (refused && !isTaken) {
        faults.push(`${file} may not import ${target}: ${rule.why}`)
      }
    }
  }
  if (!RUN_WHEN_IMPORTED.includes(file)) {
    const running = source.split('\n').find((line) => !DECLARES.test(line))
    if (running !== undefined) faults.push(`${file} does something when it is imported: ${running}`)
  }
  if (file !== 'config/config.ts' && /[=(,]\s*process\b(?!\.)/.test(source)) faults.push(`${file} hands process about`)
  return faults
}

test('every file keeps to the table', () => {
  const files = globSync('**/*.ts', { cwd: 'src' }).map((file) => file.replaceAll(path.sep, '/'))
  expect(files.length).toBeGreaterThan(5)
  expect(files.flatMap((file) => faultsOf(file, readFileSync(path.join('src', file), 'utf8')))).toEqual([])
})

test('the top of src holds what composes the rooms and what they stand on, and nothing else', () => {
  expect(globSync('*.ts', { cwd: 'src' }).sort()).toEqual([...COMPOSITION, ...GROUND].sort())
})

/** Files that play one role, each in its room. */
const ROLES: Readonly<Record<string, string>> = {
  'routes.ts': 'the addresses of a room, for the app to mount',
  'recordings.ts': 'what recordings are: to the tables, and to clients',
}

test('no two files have one name, unless they play one role', () => {
  const names = globSync('**/*.ts', { cwd: 'src' }).map((file) => path.basename(file))
  const twice = new Set(names.filter((name, i) => names.indexOf(name) !== i))
  expect([...twice].sort()).toEqual(Object.keys(ROLES).sort())
})

describe('the table refuses', () => {
  test.for([
    ['errors.ts', "import type { Config } from './config.ts'"],
    ['ids.ts', "import { ENDING } from './process/signals.ts'"],
    ['log.ts', "import { readConfig } from './config/config.ts'"],
    ['config/values.ts', "import { ServiceError } from '../errors.ts'"],
    ['process/signals.ts', "import type { Service } from '../service.ts'"],
    ['process/start-faults.ts', "import { readConfig } from '../config/config.ts'"],
    ['storage/disk/places.ts', "import { readConfig } from '../../config/config.ts'"],
    ['playback/range.ts', "import { x } from '../media/extensions.ts'"],
    ['media/ogg.ts', "import { ServiceError } from '../errors.ts'"],
    ['playback/preconditions.ts', "import type { Config } from '../config/config.ts'"],
    ['storage/disk/disk-staging.ts', "import { uploads } from '../../db/schema.ts'"],
    ['storage/disk/disk-staging.ts', "import { type UploadRow, uploads } from '../../db/schema.ts'"],
    ['storage/disk/disk-staging.ts', "import type { Database } from '../../db/database.ts'"],
    ['storage/disk/disk-library.ts', "import {\n  a,\n  b,\n} from '../../db/database.ts'"],
    ['storage/disk/disk-library.ts', "export const open = () => import('../../db/database.ts')"],
    ['db/database.ts', "import type { Library } from '../storage/library.ts'"],
    ['db/database.ts', "export { x } from '../storage/staging.ts'"],
    ['uploads/ingest.ts', "import { x } from '../doors/tus/routes.ts'"],
    ['uploads/locker.ts', "import type { Lock } from '@tus/server'"],
    ['storage/disk/disk-staging.ts', "import { FileStore } from '@tus/file-store'"],
    ['doors/form/simple-upload.ts', "import { Upload } from '@tus/server'"],
    ['uploads/ingest.ts', "import type { IncomingMessage } from 'node:http'"],
    ['uploads/sweeper.ts', "import { x } from '../app.ts'"],
    ['uploads/finish.ts', "import type { Tokens } from '../auth/tokens.ts'"],
    ['leads/rights.ts', "import { callerOf } from '../auth/required.ts'"],
    ['auth/tokens.ts', "import { leads } from '../db/schema.ts'"],
    ['doors/legacy/actions.ts', "import { x } from '../../playback/playback.ts'"],
    ['doors/legacy/actions.ts', "import type { Sink } from '../form/multipart.ts'"],
    ['doors/form/incoming-form.ts', "import { act } from '../legacy/actions.ts'"],
    ['doors/form/incoming-form.ts', "import { recordingsPost } from '../recordings-post.ts'"],
    ['doors/tus/create.ts', "import type { Sink } from '../form/multipart.ts'"],
    ['doors/bodies.ts', "import type { Sink } from './form/multipart.ts'"],
    ['doors/body-on-disk.ts', "import { open } from 'node:fs/promises'"],
    ['storage/space.ts', "import { statfs } from 'node:fs'"],
    ['playback/send.ts', "import { read } from 'node:fs'"],
    ['storage/staging.ts', "import type { Segment } from './s3/object-staged.ts'"],
    ['storage/s3/object-staging.ts', "import { S3Client } from '@aws-sdk/client-s3'"],
    ['uploads/finish.ts', "import type { ObjectStaging } from '../storage/s3/object-staging.ts'"],
    ['storage/library.ts', "import type { DiskLibrary } from './disk/disk-library.ts'"],
    ['uploads/finish.ts', "import type { DiskStaging } from '../storage/disk/disk-staging.ts'"],
    ['uploads/ingest.ts', "import { PROBE } from '../storage/disk/durability.ts'"],
    ['playback/playback.ts', "import type { DiskLibrary } from '../storage/disk/disk-library.ts'"],
    ['doors/bodies.ts', "import { NamelessFile } from '../storage/disk/nameless-file.ts'"],
    ['leads/routes.ts', "import Sqlite from 'better-sqlite3'"],
    ['leads/routes.ts', "import { migrate } from 'drizzle-orm/better-sqlite3/migrator'"],
    ['leads/routes.ts', "import { text } from 'drizzle-orm/sqlite-core'"],
    ['uploads/sweeper.ts', "import { eq } from 'drizzle-orm'"],
    ['uploads/sweeper.ts', "import { rm } from 'node:fs/promises'"],
    ['uploads/strangers.ts', "import { libraryEntries } from '../storage/disk/library-entries.ts'"],
    ['auth/keys.ts', "import { readFile } from 'node:fs/promises'"],
    ['db/uploads.ts', "import { openSqlite } from './sqlite.ts'"],
    ['db/database.ts', "import { openPostgres } from './postgres/postgres.ts'"],
    ['db/postgres/postgres.ts', "import { openSqlite } from '../sqlite.ts'"],
    ['db/postgres/postgres.ts', "import type { Core } from '../../uploads/core.ts'"],
    ['leads/routes.ts', "import { leadPaths } from './leads-contract.ts'"],
    ['http/problem.ts', "import { createDocument } from 'zod-openapi'"],
    ['uploads/finish.ts', "import { Histogram } from 'prom-client'"],
    ['uploads/ingest.ts', "import { openPostgres } from '../db/postgres/postgres.ts'"],
    ['leads/routes.ts', "import pg from 'pg'"],
    ['cli/home-commands.ts', "import { verify } from '../commands/verify.ts'"],
    ['cli/home-commands.ts', "const open = () => import('../db/sqlite.ts')"],
    ['commands/verify.ts', "import { Command } from 'commander'"],
    ['service.ts', "import { pino } from 'pino'"],
    ['uploads/finish.ts', "import { trace } from '@opentelemetry/api'"],
    ['uploads/finish.ts', "import type { Traces } from '../tracing/traces.ts'"],
    ['service.ts', "import './main.ts'"],
    ['media/inspect.ts', "import './inspect-worker.ts'"],
    ['media/ogg.ts', "import { readFile } from 'node:fs/promises'"],
    ['media/media-type.ts', "import { Inspector } from './inspect.ts'"],
    ['uploads/finish.ts', "import { inspectMedia } from '../media/media-type.ts'"],
    ['service.ts', 'start()'],
    ['service.ts', 'let opened = 0'],
    ['service.ts', 'await start()'],
    ['service.ts', 'const { env } = process'],
    ['service.ts', 'const read = readConfig(process)'],
  ] as const)('%s: %s', ([file, source]) => {
    expect(faultsOf(file, `${source}\n`)).toHaveLength(1)
  })
})

test('the table lets be what is right', () => {
  expect(
    [
      faultsOf('storage/disk/disk-staging.ts', "import type { UploadRow } from '../../db/schema.ts'\n"),
      faultsOf('storage/disk/disk-staging.ts', "import { type ChunkRow, type UploadRow } from '../../db/schema.ts'\n"),
      faultsOf('process/start-faults.ts', "import type { Config } from '../config/config.ts'\n"),
      faultsOf('storage/disk/places.ts', "import type { Places } from '../../config/config.ts'\n"),
      faultsOf('playback/range.ts', "import parse from 'range-parser'\nimport { x } from '../errors.ts'\n"),
      faultsOf('db/database.ts', "import Sqlite from 'better-sqlite3'\nimport * as schema from './schema.ts'\n"),
      faultsOf('uploads/ingest.ts', "import type { Staging } from '../storage/staging.ts'\n"),
      faultsOf('service.ts', "import { DiskStaging } from './storage/disk/disk-staging.ts'\n"),
      faultsOf('commands/backup.ts', "import { cp } from 'node:fs/promises'\n"),
      faultsOf('cli/home-commands.ts', "const open = () => import('../commands/verify.ts')\n"),
      faultsOf('doors/bodies.ts', "import type { Staging } from '../storage/staging.ts'\n"),
      faultsOf('doors/tus/store.ts', "import { FileStore } from '@tus/file-store'\n"),
      faultsOf(
        'doors/recordings-post.ts',
        "import { a } from './form/multipart.ts'\nimport { b } from './legacy/actions.ts'\n",
      ),
      faultsOf('main.ts', "import { main } from './cli.ts'\n\nawait main()\n"),
      faultsOf('log.ts', "import { pino } from 'pino'\n\nexport const tty = () => process.stdout.isTTY\n"),
    ].flat(),
  ).toEqual([])
})

describe('lint refuses', () => {
  const SAMPLES = [
    ['src/leads-env.ts', 'noProcessEnv', 'export const env = process.env.HOME'],
    ['src/uploads/bracket.ts', 'noProcessEnv', "export const env = process['env']"],
    ['src/node-process.ts', 'noRestrictedImports', "import { env } from 'node:process'\n\nexport const e = env"],
    [
      'src/uploads/ingest.ts',
      'noRestrictedImports',
      "import type { Request } from 'express'\n\nexport type R = Request",
    ],
    [
      'src/doors/legacy/actions.ts',
      'noRestrictedImports',
      "import type { Request } from 'express'\n\nexport type R = Request",
    ],
    ['src/auth/tokens.ts', 'noRestrictedImports', "import type { Request } from 'express'\n\nexport type R = Request"],
    ['src/service.ts', 'noRestrictedImports', "import express from 'express'\n\nexport const app = () => express()"],
    ['src/db/database.ts', 'noRestrictedImports', "export const app = () => import('express')"],
    ['src/index.ts', 'noBarrelFile', "export { a } from './a.ts'"],
    ['src/all.ts', 'noReExportAll', "export * from './a.ts'"],
    ['src/a.ts', 'noImportCycles', "import { b } from './b.ts'\n\nexport const a = () => b()"],
    ['src/b.ts', 'noImportCycles', "import { a } from './a.ts'\n\nexport const b = (): unknown => a()"],
    ['src/default.ts', 'noDefaultExport', 'export default 1'],
    ['src/said.ts', 'noConsole', "export const say = () => console.log('a')"],
    ['src/floating.ts', 'noFloatingPromises', 'const go = async () => 1\n\nexport const run = () => {\n  go()\n}'],
    ['src/undeclared.ts', 'noUndeclaredDependencies', "import cookies from 'cookies'\n\nexport const c = cookies"],
    ['test/focused.test.ts', 'noFocusedTests', "import { test } from 'vitest'\n\ntest.only('a', () => {})"],
  ] as const
  const RIGHT = [
    ['src/config/config.ts', 'export const env = process.env.HOME'],
    ['src/app.ts', "import express from 'express'\n\nexport const app = () => express()"],
    ['src/cli.ts', "export const say = () => console.log('a')"],
  ] as const

  let complaints: string[]
  let folder: string
  beforeAll(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'lint-'))
    for (const file of ['biome.json', '.gitignore', 'package.json']) cpSync(file, path.join(folder, file))
    for (const sample of [...SAMPLES, ...RIGHT]) {
      const file = path.join(folder, sample[0])
      mkdirSync(path.dirname(file), { recursive: true })
      writeFileSync(file, `${sample.at(-1)}\n`)
    }
    const biome = path.resolve('node_modules/.bin/biome')
    const args = ['lint', '--reporter=github', '--max-diagnostics=none', '--diagnostic-level=error', '.']
    const { stdout } = spawnSync(biome, args, { cwd: folder, encoding: 'utf8' })
    complaints = stdout.split('\n').flatMap((line) => {
      const [, rule, file = ''] = /^::error title=lint\/\w+\/(\w+),file=([^,]+)/.exec(line) ?? []
      return rule ? [`${path.relative(folder, path.resolve(folder, file))} ${rule}`] : []
    })
    return () => rmSync(folder, { recursive: true })
  })

  test.for(SAMPLES)('%s: %s', ([file, rule]) => {
    expect(complaints).toContain(`${file} ${rule}`)
  })

  test('nothing that is right', () => {
    expect(complaints.filter((complaint) => RIGHT.some(([file]) => complaint.startsWith(`${file} `)))).toEqual([])
  })
})

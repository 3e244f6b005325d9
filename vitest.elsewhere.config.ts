import { defineConfig } from 'vitest/config'

/** Of `npm test`, the files that ask a service as clients do; what needs neither a database nor a store is not asked twice. */
const OVER_BOTH = [
  'asking',
  'auth',
  'deletion',
  'ends',
  'idempotency',
  'leads',
  'legacy',
  'open-uploads',
  'playback',
  'playback-links',
  'recordings-list',
  'simple',
  'sweep',
  'tus',
  'tus-js-client',
  'what-stays',
]

const shared = {
  pool: 'forks',
  testTimeout: 60_000,
  hookTimeout: 60_000,
  teardownTimeout: 10_000,
  // What goes after an answer goes over two more processes here.
  expect: { poll: { timeout: 15_000 } },
} as const
/** Minutes of stops, kills and cuts of three instances, in a run of their own: `npm run test:outages`. */
const OUTAGES =
  process.env.npm_lifecycle_event === 'test:outages'
    ? []
    : ['outages', 'instances'].map((name) => `test/elsewhere/clients/${name}.test.ts`)
const globalSetup = ['test/support/elsewhere.ts', 'test/support/shared-servers.ts']

/** What a client sees, over PostgreSQL and a bucket instead of SQLite and a disk: the same files; and what is theirs alone. */
export default defineConfig({
  test: {
    maxWorkers: 2,
    reporters: ['default'],
    projects: [
      {
        test: {
          ...shared,
          name: 'as before',
          include: [...OVER_BOTH.map((name) => `test/${name}.test.ts`), 'test/elsewhere/clients/*.test.ts'],
          exclude: OUTAGES,
          env: { TEST_DATABASE: 'postgres', TEST_STORE: 's3' },
          globalSetup,
        },
      },
      {
        test: { ...shared, name: 'of its own', include: ['test/elsewhere/*.test.ts'], globalSetup },
      },
    ],
  },
})

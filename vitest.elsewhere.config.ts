import { defineConfig } from 'vitest/config'

/** Of `npm test`, the files that ask a service as clients do; what needs neither a database nor a store is not asked twice. */
const FILES = [
  'auth',
  'deletion',
  'ends',
  'idempotency',
  'leads',
  'legacy',
  'legacy-orders',
  'open-uploads',
  'playback',
  'playback-links',
  'recordings-list',
  'simple',
  'store-requests',
  'sweep',
  'sweep-bucket',
  'tus',
  'tus-js-client',
  'tus-model',
  'what-stays',
]

/** What a client sees, over PostgreSQL and a bucket instead of SQLite and a disk: the same files. */
export default defineConfig({
  test: {
    include: [...FILES.map((name) => `test/${name}.test.ts`), 'test/elsewhere/*.test.ts'],
    globalSetup: ['test/support/elsewhere.ts', 'test/support/shared-servers.ts'],
    env: { TEST_DATABASE: 'postgres', TEST_STORE: 's3' },
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    teardownTimeout: 10_000,
    // What goes after an answer goes over two more processes here.
    expect: { poll: { timeout: 15_000 } },
    reporters: ['default'],
  },
})

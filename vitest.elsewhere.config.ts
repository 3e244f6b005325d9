import { defineConfig } from 'vitest/config'

/** What a client sees, over PostgreSQL and a bucket instead of SQLite and a disk: the same files, unchanged. */
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['test/faults/**'],
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

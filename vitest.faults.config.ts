import { defineConfig } from 'vitest/config'

/** The long runs: processes killed, disks filled, lines cut, one file at a time. */
export default defineConfig({
  test: {
    include: ['test/faults/**/*.test.ts'],
    globalSetup: ['test/support/shared-servers.ts'],
    pool: 'forks',
    fileParallelism: false,
    retry: 1, // a machine may have other work: what failed once and then held is told as such
    testTimeout: 120_000,
    hookTimeout: 60_000,
    teardownTimeout: 10_000,
    reporters: ['default'],
  },
})

import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['test/faults/**', 'test/elsewhere/**'],
    globalSetup: ['test/support/shared-servers.ts'],
    pool: 'forks', // a process for each file: native code, signals and working directories stay apart
    maxWorkers: 3, // on two cores: some of them wait for a process or a clock
    testTimeout: 60_000, // a machine may have other work: what hangs is told from what is slow
    hookTimeout: 60_000,
    teardownTimeout: 10_000,
    reporters: ['default'],
  },
})

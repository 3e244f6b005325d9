import { defineConfig } from 'vitest/config'

/** They measure how long others wait, or how much memory is held: one file at a time, after the others. */
const MEASURING = [
  'claim-times',
  'disk',
  'many-chunks',
  'memory',
  'no-one-waits',
  'soak',
  'sockets',
  'stalls',
  'unread-answers',
]
const filesOf = (names: readonly string[]) => names.map((name) => `test/faults/${name}.test.ts`)

const globalSetup = ['test/support/shared-servers.ts']
const shared = {
  pool: 'forks',
  testTimeout: 120_000,
  hookTimeout: 60_000,
  teardownTimeout: 10_000,
} as const

/** The long runs: processes killed, disks filled, lines cut. */
export default defineConfig({
  test: {
    reporters: ['default'],
    projects: [
      {
        test: {
          ...shared,
          globalSetup,
          name: 'measuring',
          include: filesOf(MEASURING),
          maxWorkers: 1,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          ...shared,
          globalSetup,
          name: 'side by side',
          include: ['test/faults/**/*.test.ts'],
          exclude: filesOf(MEASURING),
          maxWorkers: 3, // They wait for starts and ends of processes more than they work.
          sequence: { groupOrder: 0 },
        },
      },
    ],
  },
})

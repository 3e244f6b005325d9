/**
 * Instances that hold claims: in this process, or as processes of their own, for what a test cannot do to itself.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import type { Claims } from '../../src/db/claims.ts'
import type { Database } from '../../src/db/database.ts'
import { openPostgres } from '../../src/db/postgres/postgres.ts'
import { openClaims } from '../../src/db/postgres/postgres-claims.ts'
import { connectionsTo } from './connections.ts'
import { NODE } from './process.ts'
import { afterwards } from './service.ts'

const HOLDER = fileURLToPath(new URL('claim-holder.ts', import.meta.url))

/** Runs one statement. */
export async function ask(url: string, text: string, values: unknown[] = []): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url })
  client.on('error', () => {})
  await client.connect()
  try {
    return (await client.query(text, values)).rows
  } finally {
    await client.end()
  }
}

/** An instance in this process; closed after the test. */
export async function startInstance(
  url: string,
  onLost: (error: unknown) => void = () => {},
): Promise<{ claims: Claims; db: Database }> {
  const db = await openPostgres(connectionsTo(url))
  const claims = await openClaims({ db, onLost })
  afterwards(async () => {
    await claims.close()
    await db.close()
  })
  return { claims, db }
}

export const claimsOver = async (url: string, onLost?: (error: unknown) => void) =>
  (await startInstance(url, onLost)).claims

export interface HolderProcess {
  readonly pid: number
  /** Takes an upload. @param manners whether it lets go when it is asked */
  take(id: string, manners: 'polite' | 'deaf'): Promise<void>
  /** Releases an upload that it took. */
  release(id: string): Promise<void>
  leads(): Promise<boolean>
  signal(signal: NodeJS.Signals): void
  /** Kills it, and waits for its end. */
  kill(): Promise<void>
}

/** An instance as a process of its own; killed after the test. */
export async function startHolder(
  url: string,
  { wrapper = [], silentAtMostMs = 15_000 }: { wrapper?: readonly string[]; silentAtMostMs?: number } = {},
): Promise<HolderProcess> {
  const [command = NODE, ...words] = [...wrapper, NODE]
  const child: ChildProcess = spawn(command, [...words, HOLDER, url, String(silentAtMostMs)], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  const exited = once(child, 'exit')
  const killNow = () => child.kill('SIGKILL')
  process.on('exit', killNow)
  afterwards(async () => {
    process.off('exit', killNow)
    child.kill('SIGKILL')
    await exited
  })
  const [ready] = await Promise.race([once(child, 'message'), exited.then(() => [undefined])])
  if (ready === undefined) throw new Error('the holder ended before it was there')
  const { pid } = ready as { pid: number }

  let count = 0
  const tell = async (what: object): Promise<unknown> => {
    const n = ++count
    const { promise, resolve } = Promise.withResolvers<{ fault?: string; result?: unknown }>()
    const hear = (answer: { n: number; fault?: string; result?: unknown }) => {
      if (answer.n === n) resolve(answer)
    }
    child.on('message', hear)
    child.send({ n, ...what })
    const { fault, result } = await promise
    child.off('message', hear)
    if (fault !== undefined) throw new Error(fault)
    return result
  }

  return {
    pid,
    take: async (id, manners) => void (await tell({ act: 'take', id, manners })),
    release: async (id) => void (await tell({ act: 'release', id })),
    leads: async () => (await tell({ act: 'leads' })) as boolean,
    signal: (signal) => void process.kill(pid, signal),
    async kill() {
      process.off('exit', killNow)
      process.kill(pid, 'SIGKILL')
      await exited
    },
  }
}

/** Instances of the service over one database and one store, behind nginx, which sends each request to another one. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { homeOf } from './home.ts'
import { startNginx } from './nginx.ts'
import { type ServerProcess, startProcess } from './process.ts'
import { afterwards, clientOf, type TestClient } from './service.ts'

const COUNT = 3

export interface Cluster {
  readonly all: readonly [ServerProcess, ...ServerProcess[]]
  /** Turns to nginx. */
  readonly client: TestClient
  /** An address as seen at one of them. */
  at(instance: ServerProcess, address: string): string
  any(): ServerProcess
  /** All of them run, with these settings over the first ones. */
  up(env?: Record<string, string>): Promise<void>
  /** One alone is left, so that all that is logged of the sweep is its. */
  settle(): Promise<void>
}

/**
 * @param envOf settings of each, over those of the tests, by its number and by the settings of their home
 */
export async function startCluster(
  envOf: (n: number, home: Readonly<Record<string, string>>) => Promise<Record<string, string>> = async () => ({}),
): Promise<Cluster> {
  const dir = await mkdtemp(path.join(tmpdir(), 'call-recordings-'))
  const shared = { RECORDINGS_MAX_UPLOADS_PER_CALLER: '100000', RECORDINGS_TRUST_PROXY: 'loopback' }
  const home = await homeOf(dir)
  const start = async (n: number) => startProcess({ dir, env: { ...shared, ...(await envOf(n, home)) } })
  const first = await start(0)
  // The first one has made the tables.
  const others = await Promise.all(Array.from({ length: COUNT - 1 }, (_, n) => start(n + 1)))
  const all = [first, ...others] as const
  const nginx = await startNginx({ upstream: all.map(({ url }) => url), recordingsDir: tmpdir() })
  afterwards(async () => {
    await nginx.stop()
    await rm(dir, { recursive: true, force: true })
  })
  return {
    all,
    client: await clientOf(() => nginx.origin),
    at(instance, address) {
      const { pathname, search } = new URL(address)
      return `${instance.url}${pathname}${search}`
    },
    any: () => all[Math.floor(Math.random() * all.length)] as ServerProcess,
    async up(env = {}) {
      for (const each of all) await each.restart(env)
    },
    async settle() {
      for (const each of others) await each.kill('SIGTERM')
    },
  }
}

/** Three instances over one database and one store, behind nginx, which sends each request to another one. */
import { tmpdir } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { homeOf } from '../../support/home.ts'
import { startNginx } from '../../support/nginx.ts'
import { type ServerProcess, startProcess } from '../../support/process.ts'
import { afterwards, clientOf } from '../../support/service.ts'
import { storeThrough } from '../../support/store-through.ts'

/** `KILLS=500 npx vitest run --config vitest.elsewhere.config.ts test/elsewhere/instances.test.ts` is the long run. */
const KILLS = Number(process.env.KILLS ?? 4)
const RESTARTS = 3

/** The instances, the first of which has made what the others share, and a client of all of them. */
async function cluster() {
  const env = { RECORDINGS_MAX_UPLOADS_PER_CALLER: '100000', RECORDINGS_TRUST_PROXY: 'loopback' }
  const first = await startProcess({ env })
  const shared = { ...env, ...(await homeOf(first.dir)) }
  const others = [await startProcess({ env: shared }), await startProcess({ env: shared })]
  const all = [first, ...others]
  const nginx = await startNginx({ upstream: all.map(({ url }) => url), recordingsDir: tmpdir() })
  afterwards(() => nginx.stop())
  return { first, others, all, client: await clientOf(() => nginx.origin) }
}

const any = (all: readonly ServerProcess[]) => all[Math.floor(Math.random() * all.length)] as ServerProcess

test(
  `clients that upload through ${KILLS} kill -9 of instances keep what was acknowledged, and get exactly one recording for each file`,
  async () => {
    const { first, others, all, client } = await cluster()
    const disturb = async () => {
      for (let i = 0; i < KILLS; i++) {
        await sleep(Math.random() * 1_000)
        const victim = any(all)
        await victim.kill('SIGKILL')
        await sleep(Math.random() * 500)
        await victim.restart()
      }
    }
    const settle = async () => {
      for (const other of others) await other.kill('SIGTERM')
    }
    const counts = await storeThrough(first, disturb, { client, settle })
    console.log(`stored by three instances through ${KILLS} kills: ${JSON.stringify(counts)}`)
    expect(Math.min(...Object.values(counts))).toBeGreaterThan(0)
  },
  120_000 + KILLS * 12_000,
)

test(`${RESTARTS} restarts of instances by SIGTERM, one after the other, lose nothing that clients do not try again`, async () => {
  const { first, others, all, client } = await cluster()
  const disturb = async () => {
    for (let i = 0; i < RESTARTS; i++) {
      const next = all[i % all.length] as ServerProcess
      await sleep(500)
      expect(await next.kill('SIGTERM')).toEqual({ code: 0, signal: null })
      await next.restart()
    }
  }
  const settle = async () => {
    for (const other of others) await other.kill('SIGTERM')
  }
  await storeThrough(first, disturb, { client, settle })
}, 300_000)

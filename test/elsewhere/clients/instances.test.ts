/** Three instances over one database and one store, behind nginx, which sends each request to another one. */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { startCluster } from '../../support/cluster.ts'
import { storeThrough } from '../../support/store-through.ts'
import { type Heard, type Stored, sha256 } from '../../support/stubborn.ts'

/** `KILLS=500 npm run test:outages` is the long run. */
const KILLS = Number(process.env.KILLS ?? 4)
const RESTARTS = Number(process.env.RESTARTS ?? 6)

const cluster = await startCluster()
const { all, client, settle } = cluster

test(
  `clients that upload through ${RESTARTS} restarts by SIGTERM, one instance after the other, lose nothing; those who listen hear all`,
  async () => {
    const heard: Heard = {}
    const listened: Heard = {}
    const counts = await storeThrough(
      all[0],
      async (stored) => {
        let isOver = false
        const listening = listen(() => isOver, stored, listened)
        for (let i = 0; i < RESTARTS; i++) {
          const before = stored.length
          await expect.poll(() => stored.length, { timeout: 60_000 }).toBeGreaterThan(before)
          const next = all[i % all.length] as (typeof all)[number]
          expect(await next.kill('SIGTERM')).toEqual({ code: 0, signal: null })
          await next.restart()
        }
        isOver = true
        await listening
      },
      { client, settle, heard },
    )
    console.log(`through ${RESTARTS} restarts: ${JSON.stringify({ counts, heard, listened })}`)
    // An instance answers what it has taken: the proxy has found one that was away, or the instance has said so.
    expect(heard['broken lines'] ?? 0).toBe(0)
    expect(all.flatMap(({ lines }) => lines).filter(({ level }) => level === 'fatal')).toEqual([])
  },
  120_000 + RESTARTS * 12_000,
)

/** Plays what was stored, over and over: whole, or the client is told to ask again. */
async function listen(isOver: () => boolean, stored: readonly Stored[], heard: Heard) {
  while (!isOver()) {
    const recording = stored[Math.floor(Math.random() * stored.length)]
    if (!recording) {
      await sleep(20)
      continue
    }
    const { leadId, recordingId } = recording
    const res = await client.api('GET', `/api/leads/${leadId}/recordings/${recordingId}`)
    heard[res.status] = (heard[res.status] ?? 0) + 1
    const bytes = Buffer.from(await res.arrayBuffer())
    if (res.status === 200) expect(sha256(bytes)).toBe(recording.sha256)
    else expect([502, 503]).toContain(res.status)
  }
}

test(
  `clients that upload through ${KILLS} kill -9 of instances keep what was acknowledged, and get exactly one recording for each file`,
  async () => {
    await cluster.up({ RECORDINGS_UPLOAD_EXPIRES_AFTER: '1h' })
    const disturb = async () => {
      for (let i = 0; i < KILLS; i++) {
        await sleep(Math.random() * 1_000)
        const victim = cluster.any()
        await victim.kill('SIGKILL')
        await sleep(Math.random() * 500)
        await victim.restart()
      }
    }
    const heard: Heard = {}
    const counts = await storeThrough(all[0], disturb, { client, settle, heard, large: KILLS > 10 })
    console.log(`stored by three instances through ${KILLS} kills: ${JSON.stringify({ counts, heard })}`)
    expect(Math.min(...Object.values(counts))).toBeGreaterThan(0)
  },
  120_000 + KILLS * 12_000,
)

/**
 * How long it takes to have an upload from another instance. For the table in docs/decisions/0017-claims.md:
 * `TIMES=20 npx vitest run --config vitest.faults.config.ts test/faults/claim-times.test.ts`
 */
import { expect, test } from 'vitest'
import type { Claims } from '../../src/db/claims.ts'
import { claimsOver, type HolderProcess, startHolder } from '../support/claims.ts'
import { ownNetwork } from '../support/namespace.ts'
import { hasPostgres, postgres } from '../support/postgres.ts'
import { severableLine } from '../support/severable.ts'

const TIMES = Number(process.env.TIMES ?? 3)
/** What a living instance that does not answer costs; a machine may have other work. */
const PATIENCE_MS = 700
const LATE_MS = 5_000

interface Row {
  holder: string
  ms: number[]
}

async function timesOf(claims: Claims, holder: string, prepare: (id: string) => Promise<void>): Promise<Row> {
  const ms: number[] = []
  for (let n = 0; n < TIMES; n++) {
    const id = `${holder.replaceAll(/\W+/g, '-')}-${n}`
    await prepare(id)
    const startedAtMs = performance.now()
    const claim = await claims.take(id, new AbortController().signal, () => {})
    ms.push(performance.now() - startedAtMs)
    await claim.release()
  }
  return { holder, ms: ms.sort((a, b) => a - b) }
}

const shown = ({ holder, ms }: Row) =>
  `| ${holder} | ${[ms[Math.floor(ms.length / 2)], ms.at(-1)].map((each) => `${each?.toFixed(1)} ms`).join(' | ')} |`

test.skipIf(!hasPostgres)(
  'an upload is had from another instance within a second, whatever has become of that one',
  async () => {
    const url = await (await postgres()).database()
    const claims = await claimsOver(url)
    await claims.leads('sweep')
    const living = await startHolder(url)
    const rows = [
      await timesOf(claims, 'nobody', async () => {}),
      await timesOf(claims, 'alive, and lets go when it is asked', (id) => living.take(id, 'polite')),
      await timesOf(claims, 'alive, and does not answer', (id) => living.take(id, 'deaf')),
      await timesOf(claims, 'killed (-9) just now', async (id) => {
        const holder = await startHolder(url)
        await holder.take(id, 'polite')
        await holder.kill()
      }),
      await frozen(url, claims),
      await cutOff(url, claims),
    ]
    console.log(['| holder | p50 | max |', '|---|---|---|', ...rows.map(shown)].join('\n'))
    for (const { ms } of rows) expect(ms.at(-1)).toBeLessThan(LATE_MS)
    const fastest = rows.map(({ ms }) => ms[0] as number)
    expect(fastest.map((ms) => ms < PATIENCE_MS - 50)).toEqual([true, true, false, true, false, false])
  },
  60_000 + TIMES * 20_000,
)

async function frozen(url: string, claims: Claims): Promise<Row> {
  const holder = await startHolder(url)
  const row = await timesOf(claims, 'frozen (SIGSTOP)', async (id) => {
    holder.signal('SIGCONT')
    await holder.take(id, 'polite')
    holder.signal('SIGSTOP')
  })
  holder.signal('SIGCONT')
  return row
}

async function cutOff(url: string, claims: Claims): Promise<Row> {
  const network = ownNetwork()
  const line = await severableLine(url, network?.host)
  const options = network && { wrapper: network.wrapper }
  const { cut, heal } = network ?? line
  let holder: HolderProcess | undefined
  return timesOf(claims, `cut off from the database${network ? ' (its network is down)' : ''}`, async (id) => {
    heal()
    holder ??= await startHolder(line.through(url), options)
    await holder.take(id, 'polite')
    // Asked over the session by which it lives: a line takes a while to be itself again.
    await holder.leads()
    cut()
  })
}

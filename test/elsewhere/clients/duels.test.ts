/** Two clients, each at an instance of its own, that write to one upload at the same moment. */
import { describe, expect } from 'vitest'
import { expectSwept } from '../../support/accounts.ts'
import { startCluster } from '../../support/cluster.ts'
import { inBucket } from '../../support/home.ts'
import { jsonOf } from '../../support/service.ts'
import { type Answer, send, sha256 } from '../../support/stubborn.ts'
import { noise, OFFSET_TYPE, tusClient } from '../../support/tus.ts'

/** `DUELS=200 npx vitest run --config vitest.elsewhere.config.ts test/elsewhere/clients/duels.test.ts` is the long run. */
const DUELS = Number(process.env.DUELS ?? 20)
const AT_ONCE = 4
/** PATCHes in each upload. */
const ROUNDS = 3

const cluster = await startCluster()
const { all, client, at } = cluster
const token = client.tokens.telecaller
const tus = tusClient(token)

/** Of each of them, one recording is made. */
const leadIds: string[] = []
async function newLead() {
  const lead = await client.lead()
  leadIds.push(lead.leadId)
  return lead
}

/** Two of the instances. */
function two() {
  const first = Math.floor(Math.random() * all.length)
  return [first, first + 1].map((n) => all[n % all.length] as (typeof all)[number])
}

const patch = (url: string, offset: number, body: Buffer, pieceBytes?: number): Promise<Answer> =>
  send('PATCH', url, token, {
    headers: { 'tus-resumable': '1.0.0', 'upload-offset': String(offset), 'content-type': OFFSET_TYPE },
    body,
    ...(pieceBytes && { pieceBytes }),
  })

const offsetOf = async (url: string) => {
  const head = await tus.head(at(cluster.any(), url))
  expect(head.status).toBe(200)
  return Number(head.headers.get('upload-offset'))
}

/** Bytes of the upload that one of the two has brought, and which, where that one was told so. */
interface Stretch {
  from: number
  to: number
  winner: number | undefined
}

/** Both write at the upload's offset until it is whole. @returns who has brought what */
async function duel(
  url: string,
  sides: readonly [Buffer, Buffer],
  answers: Record<string, number>,
): Promise<Stretch[]> {
  const { length } = sides[0]
  const stretches: Stretch[] = []
  for (let offset = 0; offset < length; ) {
    const to = Math.min(length, offset + Math.ceil(length / ROUNDS))
    const [a, b] = two()
    const both = await Promise.all(
      [a, b].map(async (instance, side) => {
        const body = (sides[side] as Buffer).subarray(offset, to)
        // One of them is slower, or not.
        const pieceBytes = Math.random() < 0.3 ? 16_384 : undefined
        return patch(at(instance as (typeof all)[number], url), offset, body, pieceBytes)
      }),
    )
    const winners = both.flatMap((answer, side) => (answer.status === 204 ? [side] : []))
    for (const answer of both) {
      expect([204, 409, 423], answer.text).toContain(answer.status)
      answers[answer.status] = (answers[answer.status] ?? 0) + 1
    }
    // Who has finished it with the same bytes as the other one is told of the recording.
    const areSame = to === length && sides[0].equals(sides[1])
    expect(winners.length).toBeLessThanOrEqual(areSame ? 2 : 1)
    const ids = winners.map((side) => both[side]?.headers['recording-id'])
    expect(new Set(ids).size).toBeLessThanOrEqual(1)
    const reached = await offsetOf(url)
    const [winner] = winners
    if (winner !== undefined) expect([winner, both[winner]?.headers['upload-offset']]).toEqual([winner, String(to)])
    expect(reached).toBeGreaterThanOrEqual(winner === undefined ? offset : to)
    // What a line that was asked to let go has brought may have been kept, whoever's it was.
    if (reached > offset) stretches.push({ from: offset, to: reached, winner })
    offset = reached
  }
  return stretches
}

/** The one recording of a finished upload. */
async function recordingOf(url: string) {
  const head = await tus.head(url)
  const address = head.headers.get('content-location') as string
  const played = await client.api('GET', new URL(address).pathname)
  expect(played.status).toBe(200)
  return { id: head.headers.get('recording-id'), bytes: Buffer.from(await played.arrayBuffer()) }
}

/** Runs the work so many times, some at once. */
async function times(count: number, work: (n: number) => Promise<void>) {
  const next = Array.from({ length: count }, (_, n) => n).values()
  const goOn = async () => {
    for (const n of next) await work(n)
  }
  await Promise.all(Array.from({ length: AT_ONCE }, goOn))
}

const listed = async (recordings: string) =>
  (await jsonOf(await client.api('GET', recordings))).recordings as { id: string; sha256: string }[]

describe('two instances', () => {
  inBucket(
    `that are sent different bytes for one offset, in ${DUELS} uploads: one has its way, and each stretch of the recording is of one of them`,
    { timeout: 60_000 + DUELS * 3_000 },
    async () => {
      const answers: Record<string, number> = {}
      const told = { acknowledged: 0, kept: 0 }
      await times(DUELS, async () => {
        const length = 30_000 + Math.floor(Math.random() * 400_000)
        const sides = [noise(length), noise(length)] as const
        const lead = await newLead()
        const url = await tus.begin(lead, length)
        const stretches = await duel(url, sides, answers)
        const { id, bytes } = await recordingOf(url)
        expect(bytes.length).toBe(length)
        for (const { from, to, winner } of stretches) {
          const isOf = (side: number) => bytes.subarray(from, to).equals((sides[side] as Buffer).subarray(from, to))
          if (winner === undefined) expect(isOf(0) || isOf(1)).toBe(true)
          else expect(isOf(winner)).toBe(true)
          told[winner === undefined ? 'kept' : 'acknowledged'] += 1
        }
        expect(await listed(lead.recordings)).toEqual([expect.objectContaining({ id, sha256: sha256(bytes) })])
      })
      console.log(`${DUELS} duels: ${JSON.stringify({ answers, stretches: told })}`)
    },
  )

  inBucket(
    `that are sent each PATCH at once, in ${DUELS} uploads: each finishes once, with the bytes that were sent`,
    { timeout: 60_000 + DUELS * 3_000 },
    async () => {
      const answers: Record<string, number> = {}
      await times(DUELS, async () => {
        const bytes = noise(30_000 + Math.floor(Math.random() * 400_000))
        const lead = await newLead()
        const url = await tus.begin(lead, bytes.length)
        await duel(url, [bytes, bytes], answers)
        const { id, bytes: played } = await recordingOf(url)
        expect(sha256(played)).toBe(sha256(bytes))
        expect(await listed(lead.recordings)).toEqual([expect.objectContaining({ id, sha256: sha256(bytes) })])
      })
      console.log(`${DUELS} uploads with each PATCH sent twice: ${JSON.stringify(answers)}`)
    },
  )

  inBucket('take eight empty PATCHes at once on a finished upload, each', async () => {
    const bytes = noise(1_000)
    const url = await tus.begin(await newLead(), bytes.length)
    const last = await tus.patch(url, 0, bytes)
    const id = last.headers.get('recording-id')
    for (let n = 0; n < 3; n++) {
      const answers = await Promise.all(
        Array.from({ length: 8 }, (_, i) =>
          tus.patch(at(all[i % all.length] as (typeof all)[number], url), bytes.length, noise(0)),
        ),
      )
      expect(answers.map((res) => [res.status, res.headers.get('recording-id')])).toEqual(
        Array.from({ length: 8 }, () => [204, id]),
      )
    }
  })

  inBucket('leave nothing behind but the recordings', async () => {
    await cluster.settle()
    await expectSwept(all[0], leadIds, leadIds.length)
  })
})

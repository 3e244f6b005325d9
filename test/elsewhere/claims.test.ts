import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { type Claim, type Claims, claimsOfOne } from '../../src/db/claims.ts'
import { claimsContract, never } from '../contracts/claims.ts'
import { ask, claimsOver, startHolder, startInstance } from '../support/claims.ts'
import { hasPostgres, postgres } from '../support/postgres.ts'
import { severableLine } from '../support/severable.ts'

/** A living instance that does not answer is waited for so long; a machine may have other work. */
const PATIENCE_MS = 700

claimsContract('one process', async () => ({ claims: claimsOfOne, write: async () => [] }))

const database = async (): Promise<string> => (await postgres()).database()

/** How long it took. */
async function timed<T>(work: Promise<T>): Promise<{ result: T; ms: number }> {
  const startedAtMs = performance.now()
  const result = await work
  return { result, ms: performance.now() - startedAtMs }
}

/** Takes the upload and keeps it, as one that works on it and lets go when it is asked. */
async function takePolitely(claims: Claims, id: string, told: string[] = [], name = ''): Promise<Claim> {
  const claim: Claim = await claims.take(id, never(), () => {
    told.push(name)
    void claim.release()
  })
  return claim
}

const take = (claims: Claims, id = 'a') => claims.take(id, never(), () => {})
const rows = (url: string) => ask(url, 'select upload_id, nonce from claims')

describe.skipIf(!hasPostgres)('over PostgreSQL', () => {
  // First, as long as there are few databases to be recovered.
  test('a crash of PostgreSQL forgets the claims; instances are there again by themselves, with what they hold', async () => {
    const server = await postgres()
    const url = await database()
    const [a, b] = await Promise.all([claimsOver(url), claimsOver(url)])
    const told: string[] = []
    const held = await takePolitely(a, 'a', told, 'a')
    await server.crash()
    await server.start()
    while ((await rows(url)).length === 0) await sleep(10)
    expect(await rows(url)).toEqual([{ upload_id: 'a', nonce: held.nonce }])
    await until(() => b.leads('sweep'))
    await take(b)
    expect(told).toEqual(['a'])
  })

  claimsContract('instances that share PostgreSQL', async () => {
    const { claims, db } = await startInstance(await database())
    return { claims, write: db.write }
  })

  test('a living holder is asked once, however many want the upload, and those get it one after the other', async () => {
    const url = await database()
    const [a, b, c] = await Promise.all([claimsOver(url), claimsOver(url), claimsOver(url)])
    let letGo = 0
    const first = await a.take('a', never(), () => {
      letGo++
    })
    const order: string[] = []
    let holding = 0
    const work = async (claims: Claims, name: string) => {
      const claim = await take(claims)
      holding++
      expect(holding).toBe(1)
      order.push(name)
      await sleep(20)
      holding--
      await claim.release()
    }
    const both = [work(b, 'b'), work(c, 'c')]
    while (letGo === 0) await sleep(5)
    // Each of the two has looked at it a second time by then, and asked again.
    await sleep(250)
    expect(order).toEqual([])
    await first.release()
    await Promise.all(both)
    expect(order.sort()).toEqual(['b', 'c'])
    expect(letGo).toBe(1)
    expect(await rows(url)).toEqual([])
  })

  test('a polite holder gives the upload long before it would be taken', async () => {
    const url = await database()
    const [a, b] = await Promise.all([claimsOver(url), claimsOver(url)])
    const told: string[] = []
    await takePolitely(a, 'a', told, 'a')
    const { ms } = await timed(take(b))
    expect(told).toEqual(['a'])
    expect(ms).toBeLessThan(PATIENCE_MS)
    expect([a.counts, b.counts]).toEqual([
      { waitedFor: 0, takenOver: 0 },
      { waitedFor: 1, takenOver: 0 },
    ])
  })

  test('a holder whose claim ended with its transaction tells those who wait', async () => {
    const url = await database()
    const [{ claims: a, db }, b] = await Promise.all([startInstance(url), claimsOver(url)])
    const asked = Promise.withResolvers<void>()
    const claim = await a.take('a', never(), asked.resolve)
    const waiting = timed(take(b))
    await asked.promise
    await db.write(...claim.ended())
    await claim.release()
    expect((await waiting).ms).toBeLessThan(PATIENCE_MS)
  })

  test('from a living holder that does not let go, the upload is taken after a moment; its late release changes nothing', async () => {
    const url = await database()
    const [{ claims: a, db }, b, c] = await Promise.all([startInstance(url), claimsOver(url), claimsOver(url)])
    const deaf = await take(a)
    const { result: taken, ms } = await timed(take(b))
    expect(ms).toBeGreaterThan(PATIENCE_MS - 50)
    expect(b.counts).toEqual({ waitedFor: 1, takenOver: 1 })
    await deaf.release()
    expect(await rows(url)).toEqual([{ upload_id: 'a', nonce: taken.nonce }])
    await db.write(...deaf.ended())
    expect(await c.isHeld('a')).toBe(true)
    await taken.release()
    expect(await c.isHeld('a')).toBe(false)
  })

  test('who leaves while waiting has not taken it', async () => {
    const url = await database()
    const [a, b] = await Promise.all([claimsOver(url), claimsOver(url)])
    const leaving = new AbortController()
    const asked = Promise.withResolvers<void>()
    const held = await a.take('a', never(), asked.resolve)
    const waiting = b.take('a', leaving.signal, () => {})
    await asked.promise
    leaving.abort()
    await expect(waiting).rejects.toMatchObject({ code: 'upload_locked', status: 423 })
    expect(await rows(url)).toEqual([{ upload_id: 'a', nonce: held.nonce }])
    await expect(b.take('b', AbortSignal.abort(), () => {})).rejects.toMatchObject({ code: 'upload_locked' })
  })

  test('the uploads of an instance that was killed are free at once', async () => {
    const url = await database()
    const b = await claimsOver(url)
    const holder = await startHolder(url)
    await holder.take('a', 'polite')
    expect(await b.isHeld('a')).toBe(true)
    await holder.kill()
    const { ms } = await timed(take(b))
    expect(ms).toBeLessThan(PATIENCE_MS)
  })

  test('from an instance that is frozen the upload is taken after a moment; when it wakes, it takes nothing back', async () => {
    const url = await database()
    const b = await claimsOver(url)
    const holder = await startHolder(url)
    await holder.take('a', 'polite')
    holder.signal('SIGSTOP')
    const { result: taken, ms } = await timed(take(b))
    expect(ms).toBeGreaterThan(PATIENCE_MS - 50)
    holder.signal('SIGCONT')
    await holder.release('a')
    expect(await rows(url)).toEqual([{ upload_id: 'a', nonce: taken.nonce }])
  })

  test('from an instance that is cut off the upload is taken after a moment; back again, it is heard as before', async () => {
    const url = await database()
    const b = await claimsOver(url)
    const line = await severableLine(url)
    const lost: unknown[] = []
    const a = await claimsOver(line.through(url), (error) => lost.push(error))
    const told: string[] = []
    const late = await takePolitely(a, 'a', told, 'late')
    line.cut()
    const { result: taken, ms } = await timed(take(b))
    expect(ms).toBeGreaterThan(PATIENCE_MS - 50)
    line.heal()
    // The word that it was sent meanwhile.
    while (told.length === 0) await sleep(5)
    await late.release()
    expect(await rows(url)).toEqual([{ upload_id: 'a', nonce: taken.nonce }])
    await taken.release()
    await takePolitely(a, 'a', told, 'again')
    expect((await timed(take(b))).ms).toBeLessThan(PATIENCE_MS)
    expect(told).toEqual(['late', 'again'])
    expect(lost).toEqual([])
  })

  test('an instance that lost its session goes on under another number, is asked for what it holds, and removes what it left behind', async () => {
    const url = await database()
    const lost: unknown[] = []
    const [a, b] = await Promise.all([claimsOver(url, (error) => lost.push(error)), claimsOver(url)])
    const told: string[] = []
    await takePolitely(a, 'a', told, 'a')
    const [before] = await ask(url, 'select instance::text from claims')
    await ask(url, `insert into claims values ('b', $1, 'left', 0)`, [before?.instance])
    await ask(
      url,
      `select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory'
      and (classid::bigint << 32) + objid::bigint = $1::bigint`,
      [before?.instance],
    )
    const again = async () =>
      (await ask(url, `select instance::text from claims where upload_id = 'a'`))[0]?.instance !== before?.instance
    while (!(await again())) await sleep(10)
    expect(lost).toHaveLength(1)
    await expect.poll(() => ask(url, `select 1 from claims where nonce = 'left'`)).toEqual([])
    expect((await timed(take(b))).ms).toBeLessThan(PATIENCE_MS)
    expect(told).toEqual(['a'])
  })

  test("a row that was left behind by its own instance is in nobody's way", async () => {
    const url = await database()
    const [a, b] = await Promise.all([claimsOver(url), claimsOver(url)])
    const held = await take(a)
    const [row] = await ask(url, 'select instance from claims')
    await held.release()
    const left = () => ask(url, `insert into claims values ('a', $1, 'left', 0)`, [row?.instance])
    await left()
    expect(await a.isHeld('a')).toBe(false)
    await (await take(a)).release()
    await left()
    const { ms } = await timed(take(b))
    expect(ms).toBeLessThan(PATIENCE_MS)
  })

  test('one instance leads; when it is killed, another one does', async () => {
    const url = await database()
    const b = await claimsOver(url)
    const holder = await startHolder(url)
    expect(await holder.leads()).toBe(true)
    expect(await b.leads('sweep')).toBe(false)
    expect(await holder.leads()).toBe(true)
    await holder.kill()
    await until(() => b.leads('sweep'))
  })

  test('an instance that is frozen loses the lead, and its uploads are free at once, when PostgreSQL has not heard of it for long', async () => {
    const url = await database()
    const b = await claimsOver(url)
    const holder = await startHolder(url, { silentAtMostMs: 1_000 })
    await holder.take('a', 'polite')
    expect(await holder.leads()).toBe(true)
    holder.signal('SIGSTOP')
    await until(() => b.leads('sweep'))
    expect(await b.isHeld('a')).toBe(false)
    expect((await timed(take(b))).ms).toBeLessThan(PATIENCE_MS)
    holder.signal('SIGCONT')
    await until(async () => !(await holder.leads()))
  })
})

async function until(fits: () => Promise<boolean>): Promise<void> {
  while (!(await fits())) await sleep(20)
}

/** A store that is slow, silent, full, refusing or cut off in the middle: what was acknowledged is there, and the rest is told of. */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import { asServiceError } from '../../src/errors.ts'
import { newId } from '../../src/ids.ts'
import type { Segment } from '../../src/storage/staging.ts'
import { bodyOf, sha256Hex } from '../support/bodies.ts'
import { hasS3, type S3Server, saysWhereS3IsMissing, startS3 } from '../support/s3.ts'
import { s3Stores } from '../support/s3-stores.ts'
import { type Asked, type Fault, type FaultyStore, faultyStore } from '../support/store-faults.ts'
import { noise } from '../support/tus.ts'

saysWhereS3IsMissing()

const MIB = 2 ** 20

describe.skipIf(!hasS3)('a store', () => {
  let server: S3Server
  let faults: FaultyStore
  let home: Awaited<ReturnType<typeof s3Stores>>

  beforeAll(async () => {
    server = await startS3()
    faults = await faultyStore(server.endpoint)
    home = await s3Stores(server, faults.endpoint)
    return () => home.close()
  })
  afterEach(() => {
    faults.mend()
    faults.forget()
  })

  /** Three requests, each at another instance, and a finish. @returns what lies under the key, and how long it took */
  async function upload(bytes: Buffer) {
    const [id, key] = [newId(), `lead/${newId()}.wav`]
    const rows: Segment[] = []
    const third = Math.ceil(bytes.length / 3)
    let slowestMs = 0
    for (let at = 0; at < bytes.length; at += third) {
      const startedAtMs = performance.now()
      const handle = home.again().of(id, rows)
      const { offset, error } = await handle.append(bodyOf(bytes.subarray(at, at + third)), at, {
        length: bytes.length,
      })
      if (error !== undefined) throw error
      if (offset < bytes.length) {
        rows.push(...handle.pending)
        handle.recorded()
      } else {
        expect(await handle.sha256(bytes.length)).toBe(sha256Hex(bytes))
        await handle.moveTo(key)
        await handle.discard()
      }
      slowestMs = Math.max(slowestMs, performance.now() - startedAtMs)
    }
    const held = await home.library.acquire(key)
    const pieces: Buffer[] = []
    for await (const piece of held.range(0, held.size - 1)) pieces.push(Buffer.from(piece))
    held.release()
    expect(Buffer.concat(pieces).equals(bytes)).toBe(true)
    return { key, slowestMs }
  }

  const once =
    (kind: Asked['kind'], fault: Fault, times = 1) =>
    (asked: Asked) =>
      asked.kind === kind && asked.nth <= times ? fault : undefined

  test.for([
    ['slow, 60 ms later and at 4 MiB/s', () => ({ bytesPerSecond: 4 * MIB })],
    ['one answer in four late by half a second', ({ nth }: Asked) => (nth % 4 === 0 ? { delayMs: 500 } : undefined)],
    ['silent for four seconds at a PUT', once('put', { silentMs: 4_000 })],
    ['silent for four seconds at a GET', once('get', { silentMs: 4_000 })],
    ['answering 503 twice to a PUT', once('put', { status: 503, code: 'SlowDown' }, 2)],
    ['answering 503 twice to a GET', once('get', { status: 503, code: 'ServiceUnavailable' }, 2)],
    ['answering 500 to a removal', once('delete-many', { status: 500, code: 'InternalError' })],
    ['cutting a PUT off in the middle', once('put', { cutRequestAfter: 300_000 })],
    ['cutting a GET off in the middle', once('get', { cutAnswerAfter: 300_000 }, 2)],
    ['losing the answer to a PUT', once('put', { answerLost: true })],
  ] as [string, (asked: Asked) => Fault | undefined][])('that is %s keeps an upload whole', async ([, fault]) => {
    faults.fail(fault)
    const { slowestMs } = await upload(noise(3 * MIB))
    expect(slowestMs).toBeLessThan(20_000)
    expect(home.staging.heldBytes).toBe(0)
  })

  test('that is silent for longer than three tries is given up, and told as unavailable', async () => {
    faults.fail(() => ({ silentMs: 60_000 }))
    const handle = home.staging.of(newId())
    const startedAtMs = performance.now()
    const { offset, error } = await handle.append(bodyOf(noise(1_000)), 0)
    const tookMs = performance.now() - startedAtMs
    expect(offset).toBe(0)
    expect(asServiceError(error)).toMatchObject({ code: 'unavailable', status: 503, headers: { 'Retry-After': '2' } })
    expect(tookMs).toBeGreaterThan(10_000)
    expect(tookMs).toBeLessThan(30_000)
  })

  test('that refuses connections is told as unavailable; it is used again as soon as it accepts them', async () => {
    const [id, bytes] = [newId(), noise(2_000)]
    const rows: Segment[] = []
    const first = home.staging.of(id)
    await first.append(bodyOf(bytes.subarray(0, 1_000)), 0)
    rows.push(...first.pending)
    await faults.refuse()
    const handle = home.staging.of(id, rows)
    const { offset, error } = await handle.append(bodyOf(bytes.subarray(1_000)), 1_000)
    expect(offset).toBe(1_000)
    expect(asServiceError(error).code).toBe('unavailable')
    await expect(home.library.probe()).rejects.toMatchObject({ code: 'EAGAIN' })
    await faults.accept()
    expect(await handle.append(bodyOf(bytes.subarray(1_000)), 1_000)).toEqual({ offset: 2_000, end: 'all' })
    expect(
      await home
        .again()
        .of(id, [...rows, ...handle.pending])
        .sha256(2_000),
    ).toBe(sha256Hex(bytes))
  })

  test('that is full is told as full, keeps what was acknowledged, and goes on with room again', async () => {
    const [id, bytes, key] = [newId(), noise(2 * MIB), `lead/${newId()}.wav`]
    const first = home.staging.of(id)
    await first.append(bodyOf(bytes.subarray(0, MIB)), 0)
    const rows = [...first.pending]
    await home.bucket.limit(1)
    const second = home.again().of(id, rows)
    const { offset, error } = await second.append(bodyOf(bytes.subarray(MIB)), MIB)
    expect(offset).toBe(MIB)
    expect(asServiceError(error)).toMatchObject({ code: 'insufficient_storage', status: 507 })
    // An answer of the probe is good for a while.
    const probed = () =>
      home.staging.probe().then(
        () => 'well',
        ({ code }) => code,
      )
    await expect.poll(probed, { timeout: 20_000, interval: 500 }).toBe('ENOSPC')
    await home.bucket.limit(undefined)
    const third = home.again().of(id, rows)
    expect(await third.append(bodyOf(bytes.subarray(MIB)), MIB, { length: 2 * MIB })).toMatchObject({ end: 'all' })
    await third.moveTo(key)
    await third.discard()
    expect(await home.library.sizeOf(key)).toBe(2 * MIB)
  })

  test('that forbids writing is told as unavailable', async () => {
    faults.fail(() => ({ status: 403, code: 'AccessDenied' }))
    const { error } = await home.staging.of(newId()).append(bodyOf(noise(10)), 0)
    expect(asServiceError(error).code).toBe('unavailable')
  })

  test('that hangs up on a listener who pauses is asked again when the listener goes on', async () => {
    const bytes = noise(4 * MIB)
    const { key } = await upload(bytes)
    faults.forget()
    const held = await home.library.acquire(key)
    const pieces: Buffer[] = []
    for await (const piece of held.range(0, bytes.length - 1)) {
      pieces.push(Buffer.from(piece))
      // Longer than a silent store is waited for.
      if (pieces.length === 1) await sleep(6_500)
    }
    held.release()
    expect(Buffer.concat(pieces).equals(bytes)).toBe(true)
    expect(faults.counts.get).toBe(2)
  })

  test('that cuts every answer off is not asked for ever', async () => {
    const { key } = await upload(noise(MIB))
    faults.forget()
    faults.fail(({ kind }) => (kind === 'get' ? { cutAnswerAfter: 0 } : undefined))
    const held = await home.library.acquire(key)
    await expect(
      held
        .range(0, MIB - 1)
        [Symbol.asyncIterator]()
        .next(),
    ).rejects.toMatchObject({ code: 'EAGAIN' })
    expect(faults.counts.get).toBeLessThanOrEqual(3)
    held.release()
  })

  test('that is silent does not keep a client from being read, nor hold its bytes for ever', async () => {
    faults.fail(once('put', { silentMs: 4_000 }))
    const uploads = Array.from({ length: 5 }, () => home.staging.of(newId()))
    const written = await Promise.all(uploads.map((handle) => handle.append(bodyOf(noise(2 * MIB)), 0)))
    expect(written.every(({ offset }) => offset === 2 * MIB)).toBe(true)
    expect(home.staging.heldBytes).toBe(0)
  })
})

import { createHash } from 'node:crypto'
import { statSync } from 'node:fs'
import path from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { afterAll, afterEach, describe, expect, test, vi } from 'vitest'
import { checksumOf } from '../src/doors/tus/checksum.ts'
import type { BodyCheck, WriteOptions } from '../src/storage/staging.ts'
import { diskStores } from './support/disk-stores.ts'
import { noise } from './support/tus.ts'

const { staging, uploads: directory, close } = await diskStores()
afterAll(close)
afterEach(() => {
  vi.useRealTimers()
})
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')
const from = (bytes: Uint8Array) => Readable.from([bytes], { objectMode: false })
const sized = (id: string) => statSync(path.join(directory, id)).size

const check = (holds: boolean): BodyCheck => ({ update: () => {}, holds: () => holds })

describe('bytes under a check', () => {
  test('that does not hold leave the file and its running hash as they were', async () => {
    const [first, wrong, last] = [noise(1_000), noise(600_000), noise(2_000)]
    const staged = staging.of('a')
    await staged.append(from(first), 0)
    expect(await staged.append(from(wrong), 1_000, { check: check(false) })).toMatchObject({
      offset: 1_000,
      end: 'mismatch',
    })
    expect(sized('a')).toBe(1_000)
    // The hash goes on from memory: were it read, the bytes changed on the disk would show.
    expect(staged.sizeAtHand()).toBe(1_000)
    await staged.append(from(last), 1_000, { check: check(true) })
    expect(await staged.sha256(3_000)).toBe(sha256(Buffer.concat([first, last])))
  })

  test('are dropped when the line dies, or more comes than may', async () => {
    const dying = new PassThrough()
    dying.write(noise(500))
    const staged = staging.of('b')
    const cut = staged.append(dying, 0, { check: check(true) })
    setImmediate(() => dying.destroy())
    expect(await cut).toMatchObject({ offset: 0, end: 'cut' })
    const overrun = await staged.append(from(noise(500)), 0, { maxBytes: 400, check: check(true) })
    expect(overrun).toMatchObject({ offset: 0, end: 'overrun' })
    expect(sized('b')).toBe(0)
  })

  test.for([
    ['are told of as they come without one', undefined, 1],
    ['are never told of before it holds', check(true), 0],
  ] as const)('%s', async ([, each, times]) => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] })
    const onCheckpoint = vi.fn<NonNullable<WriteOptions['onCheckpoint']>>(async () => {})
    const source = new PassThrough()
    const appended = staging.of(`c${times}`).append(source, 0, { onCheckpoint, check: each })
    source.write(noise(100))
    await vi.waitFor(() => {
      vi.advanceTimersByTime(300)
      expect(sized(`c${times}`)).toBe(100)
    })
    for (let second = 0; second < 20; second++) {
      vi.advanceTimersByTime(1_000)
      await new Promise(setImmediate)
    }
    await vi.waitFor(() => expect(onCheckpoint).toHaveBeenCalledTimes(times))
    source.end()
    expect(await appended).toMatchObject({ offset: 100, end: 'all' })
    expect(onCheckpoint.mock.calls).toEqual(times === 1 ? [[100]] : [])
  })
})

test('a trailer counts only where it is announced', () => {
  const trailers = { 'upload-checksum': `sha1 ${createHash('sha1').update('x').digest('base64')}` }
  expect(checksumOf({ headers: {}, trailers })).toBeUndefined()
  const announced = checksumOf({ headers: { trailer: 'Expires, upload-checksum' }, trailers })
  announced?.update(Buffer.from('x'))
  expect(announced?.holds()).toBe(true)
})

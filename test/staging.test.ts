import { readdirSync, readFileSync, readlinkSync, symlinkSync } from 'node:fs'
import path from 'node:path'
import { PassThrough } from 'node:stream'
import { afterAll, describe, expect, test, vi } from 'vitest'
import { diskStores } from './support/disk-stores.ts'
import { noise } from './support/tus.ts'

const { staging, uploads: directory, close } = await diskStores()
afterAll(close)
const MIB = 2 ** 20

/** A source that has brought these bytes, and may bring more. */
function coming(bytes: Buffer): PassThrough {
  const source = new PassThrough({ highWaterMark: 2 * bytes.length })
  for (let at = 0; at < bytes.length; at += 65_536) source.write(Buffer.from(bytes.subarray(at, at + 65_536)))
  return source
}

describe('bytes on their way to a disk', () => {
  test('a disk that is full while more are coming is told of, not taken for a request that was stopped', async () => {
    symlinkSync('/dev/full', path.join(directory, 'full'))
    const full = staging.of('full')
    const written = await full.append(coming(noise(2 * MIB)), 0)
    expect(written).toMatchObject({ offset: 0, error: { code: 'ENOSPC' } })
    expect(full.sizeAtHand()).toBeUndefined()
  })

  test('a file that can not be made is told of as such', async () => {
    symlinkSync(path.join(directory, 'gone', 'call'), path.join(directory, 'call'))
    await expect(staging.of('call').append(coming(noise(2 * MIB)), 0)).rejects.toMatchObject({ code: 'ENOENT' })
  })

  test('a line that falls silent has its bytes in the file shortly, long before they make a write', async () => {
    const bytes = noise(100_000)
    const source = coming(bytes)
    const appended = staging.of('silent').append(source, 0)
    await expect.poll(() => readFileSync(path.join(directory, 'silent')).length).toBe(bytes.length)
    source.destroy()
    expect(await appended).toMatchObject({ offset: bytes.length, end: 'cut' })
    expect(readFileSync(path.join(directory, 'silent')).equals(bytes)).toBe(true)
  })

  test('files that wait for their next chunk are few, and none is open for long', async () => {
    const openNow = () =>
      readdirSync('/proc/self/fd').filter((fd) => {
        try {
          return readlinkSync(`/proc/self/fd/${fd}`).startsWith(path.join(directory, 'chunks-'))
        } catch {
          return false
        }
      }).length
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
    try {
      const uploads = Array.from({ length: 260 }, (_, i) => staging.of(`chunks-${i}`))
      await Promise.all(uploads.map((each) => each.write(noise(10), 0)))
      expect(openNow()).toBe(256)
      // The first was closed, and goes on all the same.
      await uploads[0]?.write(noise(10), 10)
      expect(await uploads[0]?.size()).toBe(20)
      expect(openNow()).toBe(256)
      uploads[0]?.forget()
      expect(openNow()).toBe(255)
      vi.advanceTimersByTime(10_000)
      expect(openNow()).toBe(0)
    } finally {
      vi.useRealTimers()
    }
  })
})

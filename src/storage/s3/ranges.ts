/**
 * Ranges of objects as streams that outlive a bad connection: what was cut off goes on where it ended.
 *
 * Objects are never changed under their key, so that a range may come out of several answers.
 */
import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { TruncatedBytes } from '../bytes.ts'
import type { ObjectStore } from './s3-client.ts'
import { StoreFault } from './store-fault.ts'

/** An answer that breaks off so often without a byte more is given up. */
const TRIES = 3
const WAIT_MS = 100

/**
 * The bytes from `start` to `end`, both included.
 *
 * @param open has the answer that is being read
 * @throws ENOENT; TruncatedBytes where the object ends before `end`
 */
export async function* rangeOf(
  store: ObjectStore,
  key: string,
  start: number,
  end: number,
  open: Set<Readable> = new Set(),
): AsyncGenerator<Buffer> {
  let at = start
  for (let tries = 1; at <= end; ) {
    const { stream } = await store.get(key, at, end)
    open.add(stream)
    try {
      for await (const piece of stream as AsyncIterable<Buffer>) {
        at += piece.length
        tries = 1
        yield piece
      }
    } catch (error) {
      if (tries === TRIES) throw new StoreFault('EAGAIN', `${key}: the answer breaks off`, 'CutOff', error)
      await sleep(WAIT_MS * tries++)
      continue
    } finally {
      open.delete(stream)
      stream.destroy()
    }
    if (at <= end) throw new TruncatedBytes(`${key}: the object ends at byte ${at}`)
  }
}

/** As many bytes as asked for, in memory of their own. @throws as `rangeOf` */
export async function bytesOf(store: ObjectStore, key: string, start: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafeSlow(length)
  let at = 0
  for await (const piece of rangeOf(store, key, start, start + length - 1)) at += piece.copy(bytes, at)
  return bytes
}

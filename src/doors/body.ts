/**
 * Bodies that are needed whole before anything can be done with them: a chunk in its JSON or form.
 *
 * What they take of memory together has a limit. As long as it lasts, a body fills one buffer, used again for the next.
 * Beyond it, a body goes to a file without a name until its last byte has come, and then waits its turn: many slow
 * clients keep no fast one waiting, and a crash leaves nothing behind.
 */
import { type FileHandle, open, rm } from 'node:fs/promises'
import path from 'node:path'
import type { Readable } from 'node:stream'
import { ServiceError } from '../errors.ts'
import { newId } from '../ids.ts'
import { giveBack } from '../storage/disk/writer.ts'
import type { Space } from '../storage/space.ts'

/** Bodies that fill memory as they come; a slow client holds its share for as long as it likes. */
const COMING_BYTES = 24 * 1024 * 1024
/** Bodies read back from disk, whole: each is done with shortly, so that whoever waits here gets on. */
const READ_BACK_BYTES = 8 * 1024 * 1024
/** Up to here a body is in memory in any case. */
const SHORT_BYTES = 64 * 1024
/** Buffers come in multiples of this; what is smaller is not kept. */
const GRAIN_BYTES = 128 * 1024

/** A body that has come whole. Its bytes are nobody's once it is released. */
export interface Body {
  /** To be written over at will. */
  readonly bytes: Buffer
  release(): void
}

/** A body on its way in. */
export interface Gathering {
  /** Takes the piece, which is nobody's any more; a promise asks for a pause. @throws ServiceError `too_large` */
  write(piece: Buffer): Promise<void> | undefined
  /** @throws what kept it from being stored meanwhile */
  end(): Promise<Body>
  /** Gives back what was taken; after `end` it does nothing. */
  abort(): void
}

export interface Bodies {
  /**
   * @param callerId whose share of the disk's room it takes, should it go there
   * @param expectedBytes what will come at most, where that is known
   * @param maxBytes what may come
   */
  gather(callerId: string, expectedBytes: number | undefined, maxBytes: number): Gathering
  /** A request's body, whole. @throws ServiceError `too_large`, or `invalid_request` when the connection dies */
  read(source: Readable, callerId: string, expectedBytes: number | undefined, maxBytes: number): Promise<Body>
}

export const cutOff = () => new ServiceError('invalid_request', 'The request ended before its body did.')

const tooLong = (maxBytes: number) => new ServiceError('too_large', `The body may have ${maxBytes} bytes at most.`)

/** @param directory where bodies wait for which memory has no room */
export function createBodies({ directory, space }: { directory: string; space: Space }): Bodies {
  const idle: Buffer[] = []
  let idleBytes = 0
  let comingBytes = 0
  let readBackBytes = 0
  const waiting: { bytes: number; grant(): void }[] = []

  const sizeFor = (bytes: number) => (bytes < GRAIN_BYTES ? bytes : Math.ceil(bytes / GRAIN_BYTES) * GRAIN_BYTES)
  /** One that is longer than all there is may come alone. */
  const canCome = (bytes: number) => comingBytes === 0 || comingBytes + bytes <= COMING_BYTES
  const canReadBack = (bytes: number) => readBackBytes === 0 || readBackBytes + bytes <= READ_BACK_BYTES

  function take(bytes: number): Buffer {
    const at = idle.findIndex((buffer) => buffer.length === bytes)
    if (at < 0) return Buffer.allocUnsafeSlow(bytes)
    idleBytes -= bytes
    return idle.splice(at, 1)[0] as Buffer
  }

  function give(buffer: Buffer) {
    if (buffer.length < GRAIN_BYTES) return
    idle.push(buffer)
    idleBytes += buffer.length
    // The oldest go first: sizes that no client sends any more.
    while (idleBytes > 0 && idleBytes + comingBytes + readBackBytes > COMING_BYTES) drop(idle.shift() as Buffer)
  }

  /** Frees the memory now: the collector sees but a small object. */
  function drop(buffer: Buffer) {
    idleBytes -= buffer.length
    giveBack(buffer)
  }

  /** Memory for a body that is on disk, in its turn. */
  function turn(bytes: number): Promise<Buffer> {
    return new Promise((resolve) => {
      const grant = () => {
        readBackBytes += bytes
        resolve(take(bytes))
      }
      if (waiting.length === 0 && canReadBack(bytes)) grant()
      else waiting.push({ bytes, grant })
    })
  }

  function giveTurn(buffer: Buffer) {
    readBackBytes -= buffer.length
    give(buffer)
    while (waiting[0] && canReadBack(waiting[0].bytes)) waiting.shift()?.grant()
  }

  const once = (work: () => void) => {
    let done = false
    return () => {
      if (!done) work()
      done = true
    }
  }

  function inMemory(bytes: number, maxBytes: number): Gathering {
    const buffer = take(bytes)
    comingBytes += bytes
    const release = once(() => {
      comingBytes -= bytes
      give(buffer)
    })
    let filled = 0
    return {
      write(piece) {
        if (filled + piece.length > Math.min(maxBytes, buffer.length)) throw tooLong(maxBytes)
        filled += piece.copy(buffer, filled)
        giveBack(piece)
        return undefined
      },
      end: () => Promise.resolve({ bytes: buffer.subarray(0, filled), release }),
      abort: release,
    }
  }

  function onDisk(callerId: string, expectedBytes: number, maxBytes: number): Gathering {
    let bytes = 0
    let aborted = false
    // A name that the sweep knows, should a crash come between the two.
    const name = `${newId()}.body`
    const opened = openNameless(expectedBytes)
    let last: Promise<unknown> = opened
    // Whoever ends it hears of it.
    last.catch(() => {})

    async function openNameless(room: number): Promise<FileHandle> {
      await space.reserve({ id: name, callerId, length: room, offset: 0 })
      const file = path.join(directory, name)
      const handle = await open(file, 'wx+', 0o600)
      await rm(file)
      return handle
    }
    async function close() {
      await last.catch(() => {})
      space.release(name)
      await (await opened.catch(() => undefined))?.close()
    }
    return {
      write(piece) {
        if (bytes + piece.length > maxBytes) throw tooLong(maxBytes)
        const at = bytes
        bytes += piece.length
        const written = last.then(async () => {
          const handle = await opened
          for (let done = 0; done < piece.length; ) {
            done += (await handle.write(piece, done, piece.length - done, at + done)).bytesWritten
          }
          giveBack(piece)
        })
        last = written
        written.catch(() => {})
        return written
      },
      async end() {
        try {
          await last
          const handle = await opened
          const buffer = await turn(sizeFor(bytes))
          const body = { bytes: buffer.subarray(0, bytes), release: once(() => giveTurn(buffer)) }
          try {
            for (let read = 0; read < bytes; ) {
              const { bytesRead } = await handle.read(body.bytes, read, bytes - read, read)
              if (bytesRead === 0) throw new Error(`only ${read} of ${bytes} bytes of a body are there`)
              read += bytesRead
            }
          } catch (error) {
            body.release()
            throw error
          }
          return body
        } finally {
          aborted = true
          await close()
        }
      },
      abort() {
        if (aborted) return
        aborted = true
        void close().catch(() => {})
      },
    }
  }

  /** Short, or of unknown length: most of those are short, and need no file. */
  function perhapsShort(callerId: string, maxBytes: number): Gathering {
    const pieces: Buffer[] = []
    let bytes = 0
    let long: Gathering | undefined
    return {
      write(piece) {
        if (long) return long.write(piece)
        bytes += piece.length
        if (bytes > maxBytes) throw tooLong(maxBytes)
        pieces.push(piece)
        if (bytes <= SHORT_BYTES) return undefined
        long = onDisk(callerId, maxBytes, maxBytes)
        return long.write(Buffer.concat(pieces.splice(0)))
      },
      end: () => long?.end() ?? Promise.resolve({ bytes: Buffer.concat(pieces), release: () => {} }),
      abort: () => long?.abort(),
    }
  }

  function gather(callerId: string, expectedBytes: number | undefined, maxBytes: number): Gathering {
    if (expectedBytes === undefined || expectedBytes <= SHORT_BYTES) return perhapsShort(callerId, maxBytes)
    const size = sizeFor(Math.min(expectedBytes, maxBytes))
    return canCome(size) ? inMemory(size, maxBytes) : onDisk(callerId, size, maxBytes)
  }

  async function read(
    source: Readable,
    callerId: string,
    expectedBytes: number | undefined,
    maxBytes: number,
  ): Promise<Body> {
    if (expectedBytes !== undefined && expectedBytes > maxBytes) throw tooLong(maxBytes)
    const gathering = gather(callerId, expectedBytes, maxBytes)
    try {
      await pour(source, (piece) => gathering.write(piece))
      return await gathering.end()
    } catch (error) {
      gathering.abort()
      throw error
    }
  }

  return { gather, read }
}

/**
 * Hands on what a source brings, piece by piece; resolves at its end.
 *
 * @param take may ask for a pause by a promise; what it throws ends the pouring, and leaves the source paused
 * @param failed ends the pouring when it rejects
 * @throws ServiceError `invalid_request` when the source dies
 */
export function pour(
  source: Readable,
  take: (piece: Buffer) => Promise<void> | undefined,
  failed?: Promise<never>,
): Promise<void> {
  return new Promise((resolve, reject) => {
    let settled = false
    const settle = (error?: unknown) => {
      settled = true
      source.off('data', onData)
      source.off('end', onEnd)
      source.off('close', onCut)
      source.off('error', onCut)
      // A late error must not go unhandled.
      source.on('error', () => {})
      if (error === undefined) return resolve()
      source.pause()
      reject(error)
    }
    const onData = (piece: Buffer) => {
      try {
        const pause = take(piece)
        if (!pause) return
        source.pause()
        pause.then(() => {
          if (!settled) source.resume()
        }, settle)
      } catch (error) {
        settle(error)
      }
    }
    const onEnd = () => settle()
    const onCut = () => settle(cutOff())
    if (source.destroyed) return source.readableEnded ? resolve() : reject(cutOff())
    failed?.catch(settle)
    source.on('end', onEnd)
    source.on('close', onCut)
    source.on('error', onCut)
    source.on('data', onData)
  })
}

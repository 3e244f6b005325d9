/**
 * The protocols that recordings come and go by, as operations of a load.
 */
import { assertHolds } from './bodies.ts'
import type { Answer, Connection, Pace } from './connection.ts'
import type { Check, Operation } from './load.ts'

export const base64 = (text: string) => Buffer.from(text).toString('base64')

type Headers = Readonly<Record<string, string>>

/** Where the file lies that came of an upload, by the answer that completed it. */
export type FileOf = (connection: Connection, completed: Answer, address: string) => Promise<string>

const pathOf = ({ headers }: Answer): string => new URL(headers.location ?? '', 'http://127.0.0.1').pathname

/** tus 1.0. @param metadata the `Upload-Metadata` header */
export function tus(collection: string, headers: Headers, metadata: string, fileOf: FileOf) {
  const common = { 'Tus-Resumable': '1.0.0', ...headers }
  const bytes = { ...common, 'Content-Type': 'application/offset+octet-stream' }

  const holds =
    (address: string, completed: Answer, body: Buffer, times: number): Check =>
    async (connection) => {
      const head = await connection.ask(200, { method: 'HEAD', path: address, headers: common })
      const offset = Number(head.headers['upload-offset'])
      if (offset !== body.length * times) throw new Error(`${address} stands at ${offset}`)
      await assertHolds(await fileOf(connection, completed, address), body, times)
    }

  return {
    /** A creation, and one PATCH of `times` times the body. */
    inTwo:
      (body: Buffer, { times = 1, pace }: { times?: number; pace?: Pace } = {}): Operation =>
      async (connection) => {
        const created = await connection.ask(201, {
          method: 'POST',
          path: collection,
          headers: { ...common, 'Upload-Length': String(body.length * times), 'Upload-Metadata': metadata },
        })
        const path = pathOf(created)
        const patched = await connection.ask(204, {
          method: 'PATCH',
          path,
          headers: { ...bytes, 'Upload-Offset': '0' },
          body,
          repeat: times,
          pace,
        })
        if (Number(patched.headers['upload-offset']) !== body.length * times) throw new Error(`${path} is not whole`)
        return holds(path, patched, body, times)
      },

    /** § Creation With Upload. */
    inOne:
      (body: Buffer): Operation =>
      async (connection) => {
        const created = await connection.ask(201, {
          method: 'POST',
          path: collection,
          headers: { ...bytes, 'Upload-Length': String(body.length), 'Upload-Metadata': metadata },
          body,
        })
        return holds(pathOf(created), created, body, 1)
      },
  }
}

/** Where a form goes, what goes with the file, and the status of success. */
export interface FormTarget {
  path: string
  headers?: Headers
  fields?: Headers
  status: number
}

/** One recording in a multipart form. */
export function form({ path, headers = {}, fields = {}, status }: FormTarget, file: Buffer, fileOf: FileOf): Operation {
  const boundary = 'a-boundary-that-is-in-no-file'
  const part = (disposition: string) => `--${boundary}\r\nContent-Disposition: form-data; ${disposition}\r\n`
  const others = Object.entries(fields).map(([name, value]) => `${part(`name="${name}"`)}\r\n${value}\r\n`)
  const body = Buffer.concat([
    Buffer.from(`${others.join('')}${part('name="file"; filename="call.wav"')}Content-Type: audio/wav\r\n\r\n`),
    file,
    Buffer.from(`\r\n--${boundary}--\r\n`),
  ])
  const request = {
    method: 'POST',
    path,
    headers: { ...headers, 'Content-Type': `multipart/form-data; boundary=${boundary}` },
    body,
    keep: true,
  }
  return async (connection) => {
    const completed = await connection.ask(status, request)
    return async (later) => assertHolds(await fileOf(later, completed, path), file, 1)
  }
}

/** Base64 chunks in JSON, many to a recording. */
export interface ChunkProtocol {
  /** @returns what the recording is called from here on */
  begin(connection: Connection): Promise<string>
  /** @param chunk in Base64 */
  append(connection: Connection, id: string, index: number, chunk: Buffer): Promise<void>
  /** Where the file lies, all chunks having come. */
  fileOf(connection: Connection, id: string, chunks: number): Promise<string>
}

const CHUNKS_PER_RECORDING = 32

export function chunks({ begin, append, fileOf }: ChunkProtocol, body: Buffer): Operation {
  const encoded = Buffer.from(body.toString('base64'))
  const underWay: { id: string; count: number }[] = []
  return async (connection, worker) => {
    let recording = underWay[worker]
    if (!recording || recording.count === CHUNKS_PER_RECORDING) {
      recording = { id: await begin(connection), count: 0 }
      underWay[worker] = recording
    }
    const { id } = recording
    await append(connection, id, recording.count, encoded)
    const count = ++recording.count
    return async (later) => {
      underWay.length = 0 // the file will be gone when the next run begins
      await assertHolds(await fileOf(later, id, count), body, count)
    }
  }
}

const RANGE_BYTES = 64 * 1024

/** Recordings that are played. */
export function playback(path: string, headers: Headers, file: Buffer) {
  const whole = { method: 'GET', path, headers }
  return {
    whole: (): Operation => async (connection) => {
      const { bytes } = await connection.ask(200, whole)
      if (bytes !== file.length) throw new Error(`${path} gave ${bytes} bytes`)
      return async (later) => {
        const { body } = await later.ask(200, { ...whole, keep: true })
        if (!body.equals(file)) throw new Error(`${path} is not what was stored`)
      }
    },

    /** 64 KiB from anywhere. */
    ranges: (): Operation => async (connection) => {
      const start = Math.floor(Math.random() * (file.length - RANGE_BYTES))
      const end = start + RANGE_BYTES - 1
      const range = { method: 'GET', path, headers: { ...headers, Range: `bytes=${start}-${end}` } }
      const { bytes } = await connection.ask(206, range)
      if (bytes !== RANGE_BYTES) throw new Error(`${path} gave ${bytes} bytes of a range`)
      return async (later) => {
        const { body } = await later.ask(206, { ...range, keep: true })
        if (!body.equals(file.subarray(start, end + 1))) throw new Error(`${path} gave a range of other bytes`)
      }
    },
  }
}

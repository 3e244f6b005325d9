/**
 * An HTTP/1.1 client on a raw socket: one request in flight, the connection kept alive.
 *
 * It exists so that the load costs less than the servers that it measures: bodies go out as they are, and those that
 * come in are counted in one buffer. Of an answer in chunks it knows no more than where it ends.
 */
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

const RECEIVE_BYTES = 256 * 1024
const SILENCE_MS = 60_000
const HEAD_END = '\r\n\r\n'
const LAST_CHUNK = '0\r\n\r\n'

/** Sends a body in `parts` equal parts, one every `everyMs`. */
export interface Pace {
  parts: number
  everyMs: number
}

export interface Request {
  method: string
  path: string
  headers?: Readonly<Record<string, string | number>>
  body?: Buffer
  /** How many times `body` is sent, one after the other. */
  repeat?: number
  pace?: Pace | undefined
  /** Keeps the answer's body instead of only counting it. */
  keep?: boolean
}

export interface Answer {
  status: number
  /** Names in lower case. */
  headers: Record<string, string>
  /** Of the body. */
  bytes: number
  /** Empty unless it was to be kept. */
  body: Buffer
}

interface Pending {
  request: Request
  answer: Answer | undefined
  /** What has come of the head. */
  head: Buffer
  pieces: Buffer[]
  resolve(answer: Answer): void
  reject(error: Error): void
}

export class Connection {
  readonly #port: number
  #socket: Socket | undefined
  #pending: Pending | undefined

  constructor(port: number) {
    this.#port = port
  }

  async open(): Promise<void> {
    if (this.#socket && !this.#socket.destroyed) return
    const buffer = Buffer.allocUnsafeSlow(RECEIVE_BYTES)
    await new Promise<void>((resolve, reject) => {
      const socket = connect({
        port: this.#port,
        host: '127.0.0.1',
        noDelay: true,
        onread: {
          buffer,
          callback: (bytes) => {
            this.#receive(buffer.subarray(0, bytes))
            return true
          },
        },
      })
      socket.once('connect', resolve)
      socket.once('error', (error) => {
        reject(error)
        this.#fail(error)
      })
      socket.once('close', () => this.#fail(new Error('the server closed the connection')))
      socket.setTimeout(SILENCE_MS, () => socket.destroy(new Error('the server is silent')))
      this.#socket = socket
    })
  }

  close(): void {
    this.#pending = undefined
    this.#socket?.destroy()
  }

  /** @throws unless the answer's status is `expected` */
  async ask(expected: number, request: Request): Promise<Answer> {
    const answer = await this.request(request)
    if (answer.status === expected) return answer
    throw new Error(`${request.method} ${request.path} answered ${answer.status} for ${expected}: ${answer.body}`)
  }

  async request(request: Request): Promise<Answer> {
    await this.open()
    const { method, path, headers = {}, body, repeat = 1, pace } = request
    let head = `${method} ${path} HTTP/1.1\r\nHost: 127.0.0.1:${this.#port}\r\n`
    for (const [name, value] of Object.entries(headers)) head += `${name}: ${value}\r\n`
    if (method !== 'GET' && method !== 'HEAD') head += `Content-Length: ${(body?.length ?? 0) * repeat}\r\n`
    const answered = new Promise<Answer>((resolve, reject) => {
      this.#pending = { request, answer: undefined, head: Buffer.alloc(0), pieces: [], resolve, reject }
    })
    answered.catch(() => {}) // told below; the body may still be on its way
    const socket = this.#socket as Socket
    socket.cork()
    socket.write(`${head}\r\n`, 'latin1')
    if (body && !pace) socket.write(body)
    socket.uncork()
    if (body && pace) await this.#trickle(socket, body, pace)
    if (body && repeat > 1) await this.#again(socket, body, repeat - 1)
    return answered
  }

  async #trickle(socket: Socket, body: Buffer, { parts, everyMs }: Pace): Promise<void> {
    const size = Math.ceil(body.length / parts)
    const startMs = performance.now()
    for (let part = 0; part < parts && this.#pending; part++) {
      socket.write(body.subarray(part * size, (part + 1) * size))
      if (part + 1 < parts) await sleep(Math.max(0, startMs + (part + 1) * everyMs - performance.now()))
    }
  }

  /** Two bodies wait in the socket at most, so that it never runs dry and memory stays small. */
  async #again(socket: Socket, body: Buffer, times: number): Promise<void> {
    let previous = Promise.resolve()
    for (let i = 0; i < times && this.#pending; i++) {
      const written = new Promise<void>((resolve) => socket.write(body, () => resolve()))
      await previous
      previous = written
    }
    await previous
  }

  #receive(bytes: Buffer): void {
    const pending = this.#pending
    if (!pending) return
    let rest = bytes
    if (!pending.answer) {
      const head = pending.head.length > 0 ? Buffer.concat([pending.head, bytes]) : bytes
      const end = head.indexOf(HEAD_END)
      if (end < 0) {
        pending.head = Buffer.from(head)
        return
      }
      pending.answer = answerOf(head.toString('latin1', 0, end))
      rest = head.subarray(end + HEAD_END.length)
      if (pending.answer.status < 200) {
        pending.answer = undefined
        pending.head = Buffer.alloc(0)
        if (rest.length > 0) this.#receive(Buffer.from(rest))
        return
      }
    }
    const { answer, request } = pending
    const isChunked = answer.headers['transfer-encoding'] === 'chunked'
    answer.bytes += rest.length
    if (rest.length > 0 && (isChunked || request.keep || answer.status >= 400)) pending.pieces.push(Buffer.from(rest))
    const isWhole = isChunked
      ? Buffer.concat(pending.pieces).toString('latin1').endsWith(LAST_CHUNK)
      : answer.bytes >= bodyBytes(request.method, answer)
    if (isWhole) this.#finish(pending, answer)
  }

  #finish({ pieces, resolve }: Pending, answer: Answer): void {
    this.#pending = undefined
    answer.body = Buffer.concat(pieces)
    if (answer.headers.connection?.toLowerCase() === 'close') this.#socket?.destroy()
    resolve(answer)
  }

  #fail(error: Error): void {
    const pending = this.#pending
    this.#pending = undefined
    this.#socket?.destroy()
    if (!pending) return
    const { method, path } = pending.request
    pending.reject(new Error(`${method} ${path}: ${error.message}`, { cause: error }))
  }
}

function answerOf(head: string): Answer {
  const [statusLine = '', ...lines] = head.split('\r\n')
  const headers: Record<string, string> = {}
  for (const line of lines) {
    const colon = line.indexOf(':')
    headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim()
  }
  return { status: Number(statusLine.slice(9, 12)), headers, bytes: 0, body: Buffer.alloc(0) }
}

const bodyBytes = (method: string, { status, headers }: Answer): number =>
  method === 'HEAD' || status === 204 || status === 304 ? 0 : Number(headers['content-length'] ?? 0)

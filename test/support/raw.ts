/**
 * HTTP/1.1 by hand on a socket of its own: for bodies that stop half way, trailers, and answers that come early.
 */
import { once } from 'node:events'
import { connect } from 'node:net'

export interface RawAnswer {
  status: number
  headers: Headers
  text: string
}

export interface RawConnection {
  /** The request line and the headers; the body is yours to send. */
  head(method: string, url: string, headers?: Record<string, string>): void
  send(bytes: Uint8Array | string): void
  /** One chunk of a chunked body. */
  chunk(bytes: Uint8Array): void
  /** The end of a chunked body, with trailers. */
  lastChunk(trailers?: Record<string, string>): void
  /** The next answer; 100 Continue counts as one. */
  answer(): Promise<RawAnswer>
  /** Settled when the server has closed. */
  readonly closed: Promise<void>
  destroy(): void
}

const lines = (headers: Record<string, string>) =>
  Object.entries(headers)
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join('')

/** A connection to the server of `url`, with `common` headers on every request. */
export async function connectTo(url: string, common: Record<string, string> = {}): Promise<RawConnection> {
  const { hostname, port, host } = new URL(url)
  const socket = connect(Number(port), hostname)
  let buffer = ''
  let ended = false
  let wake = () => {}
  socket.on('data', (bytes) => {
    buffer += bytes.toString('latin1')
    wake()
  })
  const closed = new Promise<void>((resolve) => {
    const end = () => {
      ended = true
      wake()
      resolve()
    }
    socket.on('close', end)
    socket.on('end', end)
  })
  socket.on('error', () => {})
  await once(socket, 'connect')

  /** What `take` makes of the bytes that have come, as soon as it makes something. */
  async function until<T>(take: () => T | undefined): Promise<T> {
    for (;;) {
      const taken = take()
      if (taken !== undefined) return taken
      if (ended) throw new Error(`the connection ended; what came: ${JSON.stringify(buffer)}`)
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    }
  }

  return {
    closed,
    head(method, target, headers = {}) {
      const { pathname, search } = new URL(target, url)
      socket.write(
        `${method} ${pathname}${search} HTTP/1.1\r\nHost: ${host}\r\n${lines({ ...common, ...headers })}\r\n`,
      )
    },
    send: (bytes) => void socket.write(bytes),
    chunk(bytes) {
      socket.write(`${bytes.length.toString(16)}\r\n`)
      socket.write(bytes)
      socket.write('\r\n')
    },
    lastChunk: (trailers = {}) => void socket.write(`0\r\n${lines(trailers)}\r\n`),
    async answer() {
      const head = await until(() => {
        const end = buffer.indexOf('\r\n\r\n')
        if (end < 0) return undefined
        const text = buffer.slice(0, end)
        buffer = buffer.slice(end + 4)
        return text
      })
      const [start = '', ...rest] = head.split('\r\n')
      const headers = new Headers()
      for (const line of rest) headers.set(line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).trim())
      const length = Number(headers.get('content-length') ?? 0)
      const text = await until(() => (buffer.length >= length ? buffer.slice(0, length) : undefined))
      buffer = buffer.slice(length)
      return { status: Number(start.split(' ')[1]), headers, text }
    },
    destroy: () => socket.destroy(),
  }
}

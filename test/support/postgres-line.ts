/** A bad line to PostgreSQL: a TCP proxy that can fall silent, and can lose a COMMIT or the answer to it. */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { afterwards } from './service.ts'

/** As the driver sends it. */
const COMMIT = Buffer.from('commit\0')

export interface PostgresLine {
  /** The address through this line. */
  readonly url: string
  /**
   * COMMITs that are still to be lost, after some that pass, and what is lost of each: its answer, or it does not even arrive.
   */
  lose: { count: number; what: 'answer' | 'commit'; after?: number; thenSilent?: boolean }
  /** Nothing is passed on any more, either way; connections are taken all the same. */
  isSilent: boolean
  /** Breaks all connections off, with a reset. */
  cut(): void
}

export async function postgresLine(url: string): Promise<PostgresLine> {
  const { hostname, port } = new URL(url)
  const open = new Set<Socket>()
  const line: PostgresLine = {
    url: '',
    lose: { count: 0, what: 'answer' },
    isSilent: false,
    cut() {
      for (const socket of open) socket.resetAndDestroy()
    },
  }

  const proxy = createServer((client) => {
    const server = connect(Number(port), hostname)
    let isLost = false
    for (const [one, other] of [
      [client, server],
      [server, client],
    ] as const) {
      open.add(one)
      one.on('error', () => {})
      one.on('close', () => {
        open.delete(one)
        // PostgreSQL does not hear of a client that is lost in the middle of its transaction.
        if (!isLost) other.destroy()
      })
    }
    client.on('data', (bytes) => {
      if (line.isSilent) return
      const isCommit = line.lose.count > 0 && bytes.includes(COMMIT)
      if (isCommit && line.lose.after) {
        line.lose.after -= 1
      } else if (isCommit) {
        line.lose.count -= 1
        isLost = true
        line.isSilent = line.lose.thenSilent ?? false
        if (line.lose.what === 'commit') client.resetAndDestroy()
        else server.write(bytes)
        return
      }
      server.write(bytes)
    })
    server.on('data', (bytes) => {
      if (isLost) client.resetAndDestroy()
      else if (!line.isSilent) client.write(bytes)
    })
  })
  proxy.listen(0, '127.0.0.1')
  await once(proxy, 'listening')
  afterwards(async () => {
    for (const socket of open) socket.destroy()
    await new Promise((resolve) => proxy.close(resolve))
  })
  const through = new URL(url)
  through.port = String((proxy.address() as AddressInfo).port)
  return Object.assign(line, { url: through.href })
}

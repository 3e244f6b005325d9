/**
 * A bad line: a TCP proxy that breaks its connections off once they have carried so many bytes to the server, or lets
 * them stall: the client's end is gone then, as when a phone changes from wifi to LTE, and the server's stays open.
 */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { afterwards } from './service.ts'

export interface CuttingProxy {
  /** The target's address as seen through the proxy. */
  through(url: string): string
  /** Connections broken off so far. */
  readonly cuts: number
}

/**
 * @param target where the server listens, asked at each connection
 * @param budget asked at each connection: bytes towards the server until it is cut; Infinity for a good one
 */
export async function cuttingProxy(
  target: () => string,
  budget: () => number,
  { stalls = false }: { stalls?: boolean } = {},
): Promise<CuttingProxy> {
  let cuts = 0
  const sockets = new Set<Socket>()
  const proxy = createServer((client) => {
    let left = budget()
    const server = connect(Number(new URL(target()).port), new URL(target()).hostname)
    const both = [client, server]
    let stalled = false
    for (const socket of both) {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        sockets.delete(socket)
        if (!stalled) for (const each of both) each.destroy()
      })
    }
    server.pipe(client)
    client.on('data', (bytes) => {
      if (bytes.length < left) {
        left -= bytes.length
        if (!server.write(bytes)) {
          client.pause()
          server.once('drain', () => client.resume())
        }
        return
      }
      cuts += 1
      client.removeAllListeners('data')
      // What came before the cut still arrives.
      server.write(bytes.subarray(0, left), () => {
        stalled = stalls
        client.resetAndDestroy()
        if (!stalls) server.destroy()
      })
    })
  })
  proxy.listen(0, '127.0.0.1')
  await once(proxy, 'listening')
  const { port } = proxy.address() as AddressInfo
  afterwards(async () => {
    for (const socket of sockets) socket.destroy()
    await new Promise((resolve) => proxy.close(resolve))
  })
  return {
    through(url) {
      const { pathname, search } = new URL(url)
      return `http://127.0.0.1:${port}${pathname}${search}`
    },
    get cuts() {
      return cuts
    },
  }
}

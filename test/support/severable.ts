/** A line that can be cut so that neither end hears of it, as when a cable is pulled: a TCP proxy that falls silent. */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { afterwards } from './service.ts'

export interface SeverableLine {
  /** The target's address as seen through the line. */
  through(url: string): string
  /** From now on nothing passes, and new connections hear nothing. */
  cut(): void
  /** What was under way passes again. */
  heal(): void
}

/**
 * @param target where the line leads, as an address with a port
 * @param host the address that it is reached by
 */
export async function severableLine(target: string, host = '127.0.0.1'): Promise<SeverableLine> {
  let isCut = false
  const sockets = new Set<Socket>()
  const hold = (socket: Socket) => (isCut ? socket.pause() : socket.resume())
  const proxy = createServer({ pauseOnConnect: true }, (client) => {
    const server = connect(Number(new URL(target).port), new URL(target).hostname)
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      sockets.add(from)
      from.on('data', (bytes) => to.write(bytes))
      from.on('error', () => {})
      from.on('close', () => {
        sockets.delete(from)
        // An end is not heard of either, as long as the line is cut.
        if (!isCut) to.destroy()
      })
      hold(from)
    }
  })
  proxy.listen(0, host)
  await once(proxy, 'listening')
  const { port } = proxy.address() as AddressInfo
  afterwards(async () => {
    for (const socket of sockets) socket.destroy()
    await new Promise((resolve) => proxy.close(resolve))
  })
  const all = (cut: boolean) => {
    isCut = cut
    for (const socket of sockets) hold(socket)
  }
  return {
    through(url) {
      const seen = new URL(url)
      seen.hostname = host
      seen.port = String(port)
      return seen.href
    },
    cut: () => all(true),
    heal: () => all(false),
  }
}

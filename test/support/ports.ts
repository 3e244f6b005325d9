/** Ports of this machine that were free a moment ago. */
import { once } from 'node:events'
import { createServer } from 'node:net'

export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'))
  const ports = await Promise.all(
    servers.map(async (server) => {
      await once(server, 'listening')
      return (server.address() as { port: number }).port
    }),
  )
  for (const server of servers) {
    server.close()
    await once(server, 'close')
  }
  return ports
}

export const freePort = async (): Promise<number> => (await freePorts(1))[0] as number

/**
 * How many connections one address may have open: each may hold an answer that its client does not read.
 */
import type { Server } from 'node:http'
import type { Socket } from 'node:net'

/** An office of some hundred people behind one address, each with a few players. */
export const MAX_PER_ADDRESS = 2_048

const REFUSAL = 'HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\nConnection: close\r\nContent-Length: 0\r\n\r\n'
/** How long a refusal may take to be read. */
const REFUSED_WITHIN_MS = 1_000

/** Answers 503 to what comes beyond, whatever it asks for. */
export function boundConnections(server: Server): void {
  const open = new Map<string, number>()

  server.on('connection', (socket: Socket) => {
    const address = socket.remoteAddress ?? ''
    const count = (open.get(address) ?? 0) + 1
    open.set(address, count)
    socket.once('close', () => {
      const left = (open.get(address) ?? 1) - 1
      if (left === 0) open.delete(address)
      else open.set(address, left)
    })
    if (count > MAX_PER_ADDRESS) refuse(socket)
  })
}

function refuse(socket: Socket): void {
  socket.end(REFUSAL)
  setTimeout(() => socket.destroy(), REFUSED_WITHIN_MS).unref()
}

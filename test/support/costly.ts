/** Requests whose bytes are chosen to cost as much as can be, written by hand. */
import { once } from 'node:events'
import { connect } from 'node:net'
import type { TestClient } from './service.ts'

/** So long may others wait. */
export const LIMIT_MS = 100
/** As much as a chunk's request may have. */
export const BODY_BYTES = 14_000_000
/** As much as Node takes for a head, less what stands beside. */
export const HEADER_CHARACTERS = 15_000

export const pumped = (piece: string, characters: number) => piece.repeat(Math.floor(characters / piece.length))

export function bytesTo(server: Pick<TestClient, 'tokens'> & { url: string }) {
  const head = (method: string, target: string, headers: Record<string, string>) => {
    const all = { Host: new URL(server.url).host, Authorization: `Bearer ${server.tokens.telecaller}`, ...headers }
    const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`)
    return Buffer.from(`${method} ${target} HTTP/1.1\r\n${lines.join('')}\r\n`, 'latin1')
  }

  /** Sends it all on one connection; the statuses of so many answers, or of what came before the server closed. */
  async function answersTo(bytes: Buffer, count = 1): Promise<number[]> {
    const { hostname, port } = new URL(server.url)
    const socket = connect(Number(port), hostname)
    socket.on('error', () => {})
    await once(socket, 'connect')
    const statuses: number[] = []
    let text = ''
    const done = new Promise<void>((resolve) => {
      socket.on('close', resolve)
      socket.on('data', (piece) => {
        text += piece.toString('latin1')
        statuses.splice(0, Number.POSITIVE_INFINITY)
        for (const [, status] of text.matchAll(/HTTP\/1\.1 (\d+)/g)) statuses.push(Number(status))
        if (statuses.length >= count) resolve()
      })
    })
    socket.write(bytes)
    await done
    socket.destroy()
    return statuses
  }
  return { head, answersTo }
}

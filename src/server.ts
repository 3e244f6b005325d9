/**
 * The HTTP server around the app: its limits in time, and how it ends.
 */
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createApp } from './app.ts'
import type { Service } from './service.ts'

export interface RunningServer {
  readonly server: Server
  /** Without a slash at its end. */
  readonly url: string
  /** Takes no more connections, ends idle ones, and resolves when the rest has ended. */
  close(): Promise<void>
}

/** Listens on the configured host and port; port 0 takes any free one. @throws EADDRINUSE and its kin */
export async function startServer(service: Service): Promise<RunningServer> {
  const { host, port } = service.config
  const server = createServer({
    // A slow upload that still moves is no fault; a silent one is ended by the idle timeout of its own.
    requestTimeout: 0,
    headersTimeout: 60_000,
    keepAliveTimeout: 65_000,
  })
  const app = createApp(service)
  server.on('request', app)
  // The routes say when they want the body; until then a client that asks first has sent none of it.
  server.on('checkContinue', app)
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host, port, backlog: 2_048 }, resolve)
  })
  const { address, port: bound, family } = server.address() as AddressInfo
  return {
    server,
    url: `http://${family === 'IPv6' ? `[${address}]` : address}:${bound}`,
    close: () =>
      new Promise((resolve, reject) => {
        server.close((error) => (error ? reject(error) : resolve()))
        server.closeIdleConnections()
      }),
  }
}

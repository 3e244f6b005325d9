/**
 * Metrics at a port of their own, which a firewall can keep to those who collect them: nothing else is there.
 */
import { createServer, type Server } from 'node:http'
import { CONTENT_TYPE } from './kept-until-asked.ts'
import type { Metrics } from './metrics.ts'

/** Whoever asks has little to say. */
const MAX_SILENCE_MS = 10_000

/** @throws EADDRINUSE and its kin */
export async function listenForMetrics(
  metrics: Pick<Metrics, 'text'>,
  { host, port }: { host: string; port: number },
): Promise<Server> {
  const server = createServer(async (req, res) => {
    const isMetrics = req.url === '/metrics'
    const isRead = req.method === 'GET' || req.method === 'HEAD'
    if (!isMetrics || !isRead) {
      res.writeHead(isMetrics ? 405 : 404, isMetrics ? { Allow: 'GET, HEAD' } : {}).end()
      return
    }
    const text = await metrics.text().catch(() => undefined)
    if (text === undefined) res.writeHead(503).end()
    else res.writeHead(200, { 'Content-Type': CONTENT_TYPE, 'Cache-Control': 'no-store' }).end(text)
  })
  server.timeout = MAX_SILENCE_MS
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host, port }, resolve)
  })
  return server
}

/**
 * What the peers have in common: they are started with `DIR PORT`, keep their files in DIR, and end on SIGTERM.
 */
import type { RequestListener } from 'node:http'
import { createServer } from 'node:http'

const [dir = '', port = ''] = process.argv.slice(2)

/** Where files are kept, or found. */
export const directory = dir

export function listen(listener: RequestListener): void {
  createServer(listener).listen(Number(port), '127.0.0.1')
  process.on('SIGTERM', () => process.exit(0))
}

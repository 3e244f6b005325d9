/** Where a server is reached from its own machine, by the settings that it listens by. */
import type { Config } from '../config/config.ts'

/** Ends with `/`. */
export function localAddress({ host, port }: Pick<Config, 'host' | 'port'>): URL {
  const reached = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host
  return new URL(`http://${reached.includes(':') ? `[${reached}]` : reached}:${port}/`)
}

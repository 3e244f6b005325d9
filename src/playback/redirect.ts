/**
 * Listeners who are sent to the store itself: for a while they may read there without the service, since the address is
 * signed. Rights are asked before; what is said of the bytes is signed along with it.
 *
 * Of players with links alone: a client that brings its `Authorization` along would be refused by the store. And of GET
 * alone, since what is signed is signed for one method.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Config } from '../config/config.ts'
import type { Playable } from '../db/recordings.ts'
import type { Library } from '../storage/library.ts'

interface Parts {
  config: Config
  library: Library
}

/** Where the listener may read the bytes now; undefined where the service sends them. */
export function storeAddress(
  { config, library }: Parts,
  req: IncomingMessage,
  { path, contentType }: Playable,
  { disposition, cacheControl }: { disposition: string; cacheControl: string },
): Promise<string> | undefined {
  const { redirectMs } = config.playback
  if (redirectMs === undefined || req.method !== 'GET' || req.headers.authorization !== undefined) return undefined
  return library.addressOf?.(path, Math.ceil(redirectMs / 1000), { contentType, disposition, cacheControl })
}

export function redirect(res: ServerResponse, address: string, headers: Record<string, string>): void {
  res.writeHead(302, { ...headers, Location: address, 'Cache-Control': 'no-store', 'Content-Length': 0 }).end()
}

/**
 * By what name a client asks for us (RFC 9112 §3.2): told once, well formed, and by the target where that is a whole address.
 *
 * It becomes part of the addresses that answers name, so nothing passes that is no host; what a trusted proxy forwards
 * is held to the same.
 */
import type { IncomingMessage } from 'node:http'
import type { RequestHandler } from 'express'
import { ServiceError } from '../errors.ts'

/** Narrower than RFC 3986, whose names may hold quotes and brackets: no host that a client reaches has them. */
const HOST = /^(?:[\w.~-]+|\[[0-9a-f:.]+\])(?::\d{0,5})?$/i

const isHost = (host: string) => HOST.test(host) && URL.canParse(`http://${host}`)

const badHost = () => new ServiceError('invalid_request', 'The request must name one host, and a valid one.')

/**
 * Turns a target in absolute form into a path; its host beats the header's (§3.2.2). What is no address of HTTP stays,
 * and is refused by `checkHost`.
 */
export function takeTarget(req: IncomingMessage): void {
  if (req.url?.startsWith('/')) return
  const [, host, rest = ''] = /^https?:\/\/([^/?#]+)(.*)$/i.exec(req.url ?? '') ?? []
  if (host === undefined) return
  req.url = rest.startsWith('/') ? rest : `/${rest}`
  req.headers.host = host
}

/** Express middleware. @throws ServiceError `invalid_request` */
export const checkHost: RequestHandler = (req, _res, next) => {
  const { rawHeaders, url } = req
  if (!url.startsWith('/') && url !== '*') {
    throw new ServiceError('invalid_request', 'The target of the request must be a path or an http address.')
  }
  let isNamed = false
  for (let at = 0; at < rawHeaders.length; at += 2) {
    if (rawHeaders[at]?.length !== 4 || rawHeaders[at]?.toLowerCase() !== 'host') continue
    const given = rawHeaders[at + 1] ?? ''
    // An empty one is what a client without a host to tell has to send.
    if (isNamed || (given !== '' && !isHost(given))) throw badHost()
    isNamed = true
  }
  // Of the target, or of a proxy.
  const { host, protocol } = req
  if (host && !isHost(host)) throw badHost()
  if (protocol !== 'http' && protocol !== 'https') {
    throw new ServiceError('invalid_request', 'X-Forwarded-Proto must be http or https.')
  }
  next()
}

/**
 * `/metrics`: to everybody, or to who brings the token. Where metrics are off, or at a port of their own, there is nothing
 * at this address.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import { type RequestHandler, Router } from 'express'
import type { MetricsSetting } from '../config/config.ts'
import { ServiceError } from '../errors.ts'
import { notFound } from '../http/problem.ts'
import { takesNoQuery } from '../http/request.ts'
import { CONTENT_TYPE } from './kept-until-asked.ts'
import type { Metrics } from './metrics.ts'

export function metricsRoutes(setting: MetricsSetting | undefined, metrics: Pick<Metrics, 'text'> | undefined): Router {
  const router = Router()
  if (!metrics || !setting || setting.at === 'port') {
    router.all('/metrics', notFound)
    return router
  }
  const mayAsk: RequestHandler = setting.at === 'token' ? bringing(setting.token) : (_req, _res, next) => next()
  router.get('/metrics', mayAsk, takesNoQuery, async (_req, res) => {
    res.set({ 'Content-Type': CONTENT_TYPE, 'Cache-Control': 'no-store' }).send(await metrics.text())
  })
  return router
}

/** Of one length, whatever is brought, so that a comparison tells nothing by its time. */
const digestOf = (bytes: Uint8Array | string) => createHash('sha256').update(bytes).digest()

function bringing(token: Uint8Array): RequestHandler {
  const expected = digestOf(token)
  return (req, _res, next) => {
    const [, brought = ''] = /^Bearer +(\S+)$/i.exec(req.headers.authorization ?? '') ?? []
    if (timingSafeEqual(digestOf(brought), expected)) return next()
    throw new ServiceError('unauthenticated', 'Metrics are for who has their token.', {
      headers: { 'WWW-Authenticate': 'Bearer realm="metrics"' },
    })
  }
}

/**
 * The routes, in order, and the error handler last.
 */
import cors from 'cors'
import express, { type Express } from 'express'
import { required } from './auth/required.ts'
import { meRoutes } from './auth/routes.ts'
import { openUploads } from './doors/open-uploads.ts'
import { recordingsPost } from './doors/recordings-post.ts'
import { tusErrors, tusRoutes } from './doors/tus/routes.ts'
import { contractRoutes } from './http/contract-routes.ts'
import { letBody } from './http/early-answers.ts'
import { healthRoutes } from './http/health.ts'
import { checkHost } from './http/host.ts'
import { otherMethods } from './http/methods.ts'
import { notFound, problems } from './http/problem.ts'
import { createReadiness, type Readiness } from './http/readiness.ts'
import { takesNoQuery } from './http/request.ts'
import { requestLog } from './http/request-log.ts'
import { leadRoutes } from './leads/routes.ts'
import type { Metrics } from './metrics/metrics.ts'
import { metricsRoutes } from './metrics/routes.ts'
import { playbackRoutes } from './playback/playback.ts'
import { recordingRoutes } from './recordings/recordings.ts'
import { askingRoutes } from './recordings/routes.ts'
import type { Service } from './service.ts'

/** What a page on another origin may read of an answer; browsers hide all else. */
const EXPOSED_HEADERS = [
  'Location',
  'Tus-Resumable',
  'Tus-Version',
  'Tus-Extension',
  'Tus-Max-Size',
  'Tus-Checksum-Algorithm',
  'Upload-Offset',
  'Upload-Length',
  'Upload-Defer-Length',
  'Upload-Metadata',
  'Upload-Expires',
  'Upload-Concat',
  'Recording-Id',
  'Content-Location',
  'Retry-After',
  'Error-Code',
  'Accept-Post',
  'Accept-Patch',
  'Accept-Encoding',
  'ETag',
  'Accept-Ranges',
  'Content-Range',
  'Content-Length',
  'Content-Disposition',
  'Repr-Digest',
  'WWW-Authenticate',
  'X-Request-Id',
]

/** @param metrics undefined: nothing is measured */
export function createApp(
  service: Service,
  readiness: () => Promise<Readiness>,
  metrics?: Pick<Metrics, 'ended' | 'text'>,
): Express {
  const { config, log, db, tokens, library, links, clock, events, ingest } = service
  const app = express()
  app.disable('x-powered-by')
  app.disable('etag')
  app.set('trust proxy', config.trustProxy)
  app.set('query parser', 'simple')

  app.use(requestLog(log, metrics?.ended))
  if (service.traces) app.use(service.traces.request)
  app.use((_req, res, next) => {
    res.setHeader('X-Content-Type-Options', 'nosniff')
    next()
  })
  app.use(
    cors({
      origin: config.cors === '*' ? '*' : [...config.cors],
      methods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
      exposedHeaders: EXPOSED_HEADERS,
      maxAge: 86_400,
      // OPTIONS of the tus door tells its capabilities too.
      preflightContinue: true,
    }),
  )
  app.use(checkHost)
  const tus = tusRoutes(service)
  app.use(tus.direct)
  // First of the routes, since each ahead of it costs every range its match.
  app.use(playbackRoutes({ config, db, tokens, library, links, events, clock }))
  app.get('/api/leads/:leadId/uploads', required(tokens), takesNoQuery, openUploads(service), problems)
  app.use('/api/leads/:leadId/uploads', tus.router)
  app.use(/^\/api\/leads\/[^/]*\/uploads(?=\/|$)/i, tusErrors)
  app.use(healthRoutes(readiness))
  app.options('/{*path}', (_req, res) => {
    res.status(204).end()
  })
  app.use('/api/leads/:leadId/recordings', recordingsPost(service))
  app.use('/api', required(tokens))
  app.use('/api', letBody)
  app.use('/api', meRoutes())
  app.use('/api', leadRoutes({ db, clock }))
  app.use('/api', askingRoutes({ config, db }))
  app.use('/api/leads/:leadId/recordings', recordingRoutes({ config, db, library, events, step: ingest.step }))
  app.use(contractRoutes(config))
  app.use(metricsRoutes(config.metrics, metrics))
  app.use(otherMethods())
  app.use(notFound)
  app.use(problems)
  return app
}

/** What a load balancer and metrics ask. */
export const readinessOf = ({ db, library, tokens, space, ingest, events }: Service) =>
  createReadiness(
    {
      database: () => db.ping(),
      storage: () => Promise.all([library.probe(), ingest.staging.probe()]),
      keys: () => tokens.atHand(),
      space: () => space.assertRoom(),
    },
    { isDraining: () => ingest.isDraining(), events },
  )

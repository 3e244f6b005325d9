/**
 * Whether the service lives, and whether it can do its work: for the process supervisor and the load balancer.
 */
import { Router } from 'express'
import type { Readiness } from './readiness.ts'
import { takesNoQuery } from './request.ts'

export function healthRoutes(readiness: () => Promise<Readiness>): Router {
  const router = Router()

  router.get('/livez', takesNoQuery, (_req, res) => {
    res.set('Cache-Control', 'no-store').json({ status: 'ok' })
  })

  router.get('/readyz', takesNoQuery, async (_req, res) => {
    const told = await readiness()
    res
      .status(told.status === 'ok' ? 200 : 503)
      .set('Cache-Control', 'no-store')
      .json(told)
  })

  return router
}

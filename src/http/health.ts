/**
 * Whether the service lives, and whether it can do its work: for the process supervisor and the load balancer.
 */
import { Router } from 'express'
import { z } from 'zod'
import type { Readiness } from './readiness.ts'
import { takesNoQuery } from './request.ts'

export const livenessAnswer = z.object({ status: z.literal('ok') }).meta({ id: 'Liveness' })

export function healthRoutes(readiness: () => Promise<Readiness>): Router {
  const router = Router()

  router.get('/livez', takesNoQuery, (_req, res) => {
    const answer: z.infer<typeof livenessAnswer> = { status: 'ok' }
    res.set('Cache-Control', 'no-store').json(answer)
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

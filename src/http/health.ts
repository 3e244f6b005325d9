/**
 * Whether the service lives, and whether it can do its work: for the process supervisor and the load balancer.
 */
import { Router } from 'express'
import type { Database } from '../db/database.ts'
import type { Library } from '../storage/library.ts'
import type { Staging } from '../storage/staging.ts'
import { takesNoQuery } from './request.ts'

interface Parts {
  db: Database
  library: Library
  staging: Pick<Staging, 'probe'>
  /** True once a shutdown has begun. */
  isDraining: () => boolean
}

export function healthRoutes({ db, library, staging, isDraining }: Parts): Router {
  const router = Router()

  router.get('/livez', takesNoQuery, (_req, res) => {
    res.set('Cache-Control', 'no-store').json({ status: 'ok' })
  })

  router.get('/readyz', takesNoQuery, async (_req, res) => {
    const [database, storage] = await Promise.allSettled([db.ping(), Promise.all([library.probe(), staging.probe()])])
    const checks = {
      accepting: !isDraining(),
      database: database.status === 'fulfilled',
      storage: storage.status === 'fulfilled',
    }
    const ready = checks.accepting && checks.database && checks.storage
    res
      .status(ready ? 200 : 503)
      .set('Cache-Control', 'no-store')
      .json({ status: ready ? 'ok' : 'unavailable', checks })
  })

  return router
}

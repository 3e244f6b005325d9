/** Recordings across leads, and figures of them. */
import { Router } from 'express'
import { callerOf } from '../auth/required.ts'
import type { Config } from '../config/config.ts'
import type { Database } from '../db/database.ts'
import { queryOf } from '../http/request.ts'
import { recordingsFor, recordingsQuery, statisticsFor, statisticsQuery } from './asking.ts'
import { pageJson } from './recordings.ts'

export function askingRoutes({ config, db }: { config: Config; db: Database }): Router {
  const router = Router()

  router.get('/recordings', async (req, res) => {
    const page = await recordingsFor(db, callerOf(res), queryOf(recordingsQuery, req))
    res.json(pageJson(page, req, config.publicUrl))
  })

  router.get('/statistics', async (req, res) => {
    res.json(await statisticsFor(db, callerOf(res), queryOf(statisticsQuery, req)))
  })

  return router
}

/** Who a token is of, as the service reads it. */
import { Router } from 'express'
import { z } from 'zod'
import { takesNoQuery } from '../http/request.ts'
import { ROLES } from '../leads/rights.ts'
import { callerOf } from './required.ts'

export const meAnswer = z
  .object({
    id: z.string(),
    role: z.enum(ROLES),
    name: z.string().nullable().describe('The claim `name` of the token; null without one.'),
  })
  .meta({ id: 'Me' })

export function meRoutes(): Router {
  const router = Router()
  router.get('/me', takesNoQuery, (_req, res) => {
    const { id, role, name = null } = callerOf(res)
    const me: z.output<typeof meAnswer> = { id, role, name }
    res.json(me)
  })
  return router
}

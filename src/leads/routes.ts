/**
 * Leads and call logs, as the CRM's back end writes them.
 *
 * The CRM owns this data; the service keeps what it needs to tell who may hear what.
 */
import { json, Router } from 'express'
import { z } from 'zod'
import { callerOf } from '../auth/required.ts'
import type { Clock } from '../clock.ts'
import { callLogAdded, callLogById, callLogChanged } from '../db/call-logs.ts'
import { type Database, must, type Reading } from '../db/database.ts'
import { leadAdded, leadChanged } from '../db/leads.ts'
import type { CallLog, Lead } from '../db/schema.ts'
import { ServiceError } from '../errors.ts'
import { bodyOf, checked, takesNoQuery } from '../http/request.ts'
import { CALLER_ID_PATTERN, ID_PATTERN, isId } from '../ids.ts'
import { callLogNotFound, leadFor } from './rights.ts'

export const idSchema = z.string().regex(ID_PATTERN, 'must be 1 to 64 characters of A-Z a-z 0-9 _ -')

export const leadBody = z.strictObject({
  telecaller_id: z.string().regex(CALLER_ID_PATTERN, 'must be 1 to 255 characters without control characters'),
  name: z.string().max(500).nullish(),
})

export const callLogBody = z.strictObject({
  /** RFC 3339. */
  started_at: z.iso.datetime({ offset: true }).nullish(),
  duration_seconds: z.number().min(0).nullish(),
  direction: z.enum(['inbound', 'outbound']).nullish(),
})

const timestamp = (ms: number | null) => (ms === null ? null : new Date(ms).toISOString())

const leadJson = (lead: Lead) => ({
  id: lead.id,
  telecaller_id: lead.telecallerId,
  name: lead.name,
  created_at: timestamp(lead.createdAtMs),
  updated_at: timestamp(lead.updatedAtMs),
})

const callLogJson = (callLog: CallLog) => ({
  id: callLog.id,
  lead_id: callLog.leadId,
  started_at: timestamp(callLog.startedAtMs),
  duration_seconds: callLog.durationSeconds,
  direction: callLog.direction,
  created_at: timestamp(callLog.createdAtMs),
  updated_at: timestamp(callLog.updatedAtMs),
})

export function leadRoutes({ db, clock }: { db: Database; clock: Clock }): Router {
  const router = Router()
  const body = json({ limit: '64kb' })

  router.put('/leads/:leadId', takesNoQuery, body, async (req, res) => {
    const caller = callerOf(res)
    if (caller.role !== 'service') throw new ServiceError('forbidden', 'Only the CRM itself may write leads.')
    const id = checked(idSchema, req.params.leadId, 'lead_id')
    const { telecaller_id, name } = checked(leadBody, bodyOf(req))
    const now = clock.now()
    // What is left out stays as it is; null clears it.
    const values = { telecallerId: telecaller_id, name, updatedAtMs: now }
    let written: Lead | undefined
    const [created] = await db.write(
      leadAdded({ id, createdAtMs: now, ...values, name: name ?? null }),
      leadChanged(id, values, (lead) => {
        written = lead
      }),
    )
    res.status(created ? 201 : 200).json(written && leadJson(written))
  })

  router.put('/leads/:leadId/call-logs/:callLogId', takesNoQuery, body, async (req, res) => {
    const id = checked(idSchema, req.params.callLogId, 'call_log_id')
    const lead = await leadFor(db, callerOf(res), req.params.leadId, 'write')
    const { started_at, duration_seconds, direction } = checked(callLogBody, bodyOf(req))
    const now = clock.now()
    const values = {
      startedAtMs: started_at == null ? started_at : Date.parse(started_at),
      durationSeconds: duration_seconds,
      direction,
      updatedAtMs: now,
    }
    let written: CallLog | undefined
    // Two leads may claim the same new call at once: the row itself says whose it is.
    const [created] = await db.write(
      callLogAdded({
        id,
        leadId: lead.id,
        startedAtMs: values.startedAtMs ?? null,
        durationSeconds: duration_seconds ?? null,
        direction: direction ?? null,
        createdAtMs: now,
        updatedAtMs: now,
      }),
      must(
        callLogChanged({ id, leadId: lead.id }, values, (callLog) => {
          written = callLog
        }),
        () => new ServiceError('conflict', 'This call log belongs to another lead.'),
      ),
    )
    res.status(created ? 201 : 200).json(written && callLogJson(written))
  })

  return router
}

/** The call log, if it is a call with this lead. @throws ServiceError `call_log_not_found` otherwise */
export async function callLogOf(db: Reading, leadId: string, callLogId: string): Promise<CallLog> {
  const callLog = isId(callLogId) ? await callLogById(db, callLogId) : undefined
  if (!callLog || callLog.leadId !== leadId) {
    throw callLogNotFound()
  }
  return callLog
}

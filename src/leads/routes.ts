/**
 * Leads and call logs, as the CRM's back end writes them.
 *
 * The CRM owns this data; the service keeps what it needs to tell who may hear what.
 */
import { json, Router } from 'express'
import { z } from 'zod'
import { callerOf } from '../auth/required.ts'
import type { Clock } from '../clock.ts'
import { callLogById } from '../db/call-logs.ts'
import type { Database, Reading } from '../db/database.ts'
import type { CountedLead } from '../db/leads-asked.ts'
import type { CallLog, Lead } from '../db/schema.ts'
import { ServiceError } from '../errors.ts'
import { nextCursorAnswer } from '../http/paging.ts'
import { bodyOf, checked, queryOf, takesNoQuery } from '../http/request.ts'
import { idSchema, isId } from '../ids.ts'
import {
  type CallWithRecordings,
  callLogsFor,
  callLogsQuery,
  leadShownTo,
  leadsFor,
  leadsQuery,
  withRecordings,
} from './lists.ts'
import { callLogNotFound, leadFor } from './rights.ts'
import { callLogBody, callLogWritten, leadBody, leadWritten } from './writes.ts'

const time = z.iso.datetime()

/** A lead as clients see it. */
export const leadAnswer = z
  .object({
    id: idSchema,
    telecaller_id: z.string(),
    name: z.string().nullable(),
    created_at: time,
    updated_at: time,
  })
  .meta({ id: 'Lead' })

/** The same, with what there is of its recordings. */
export const countedLeadAnswer = leadAnswer
  .extend({ recordings: z.int().min(0), last_recording_at: time.nullable() })
  .meta({ id: 'CountedLead' })
export const leadsAnswer = z
  .object({ leads: z.array(countedLeadAnswer), next_cursor: nextCursorAnswer })
  .meta({ id: 'Leads' })

/** A call with a lead, as clients see it. */
export const callLogAnswer = z
  .object({
    id: idSchema,
    lead_id: idSchema,
    started_at: time.nullable(),
    duration_seconds: z.number().nullable(),
    direction: z.enum(['inbound', 'outbound']).nullable(),
    created_at: time,
    updated_at: time,
  })
  .meta({ id: 'CallLog' })

/** The same, with its recordings. */
export const recordedCallAnswer = callLogAnswer
  .extend({ recordings: z.array(idSchema).describe('Their ids, the oldest first; of more than 200, these.') })
  .meta({ id: 'RecordedCall' })
export const callLogsAnswer = z
  .object({ call_logs: z.array(recordedCallAnswer), next_cursor: nextCursorAnswer })
  .meta({ id: 'CallLogs' })

const timestamp = (ms: number) => new Date(ms).toISOString()

const leadJson = (lead: Lead): z.infer<typeof leadAnswer> => ({
  id: lead.id,
  telecaller_id: lead.telecallerId,
  name: lead.name,
  created_at: timestamp(lead.createdAtMs),
  updated_at: timestamp(lead.updatedAtMs),
})

const callLogJson = (callLog: CallLog): z.infer<typeof callLogAnswer> => ({
  id: callLog.id,
  lead_id: callLog.leadId,
  started_at: callLog.startedAtMs === null ? null : timestamp(callLog.startedAtMs),
  duration_seconds: callLog.durationSeconds,
  direction: callLog.direction,
  created_at: timestamp(callLog.createdAtMs),
  updated_at: timestamp(callLog.updatedAtMs),
})

const countedLeadJson = ({
  recordings,
  lastRecordingAtMs,
  ...lead
}: CountedLead): z.infer<typeof countedLeadAnswer> => ({
  ...leadJson(lead),
  recordings,
  last_recording_at: lastRecordingAtMs === null ? null : timestamp(lastRecordingAtMs),
})

const callWithRecordingsJson = ({
  recordings,
  ...callLog
}: CallWithRecordings): z.infer<typeof recordedCallAnswer> => ({
  ...callLogJson(callLog),
  recordings: [...recordings],
})

function reading(router: Router, db: Database): void {
  router.get('/leads', async (req, res) => {
    const { rows, nextCursor } = await leadsFor(db, callerOf(res), queryOf(leadsQuery, req))
    res.json({ leads: rows.map(countedLeadJson), next_cursor: nextCursor })
  })

  router.get('/leads/:leadId', takesNoQuery, async (req, res) => {
    res.json(countedLeadJson(await leadShownTo(db, callerOf(res), req.params.leadId)))
  })

  router.get('/leads/:leadId/call-logs', async (req, res) => {
    const caller = callerOf(res)
    const lead = await leadFor(db, caller, req.params.leadId, 'use')
    const { rows, nextCursor } = await callLogsFor(db, caller, lead, queryOf(callLogsQuery, req))
    res.json({ call_logs: rows.map(callWithRecordingsJson), next_cursor: nextCursor })
  })

  router.get('/leads/:leadId/call-logs/:callLogId', takesNoQuery, async (req, res) => {
    const lead = await leadFor(db, callerOf(res), req.params.leadId, 'use')
    const call = await callLogOf(db, lead.id, req.params.callLogId)
    res.json((await withRecordings(db, [call])).map(callWithRecordingsJson)[0])
  })
}

export function leadRoutes({ db, clock }: { db: Database; clock: Clock }): Router {
  const router = Router()
  reading(router, db)
  const parsed = json({ limit: '64kb' })

  router.put('/leads/:leadId', takesNoQuery, parsed, async (req, res) => {
    const caller = callerOf(res)
    if (caller.role !== 'service') throw new ServiceError('forbidden', 'Only the CRM itself may write leads.')
    const id = checked(idSchema, req.params.leadId, 'lead_id')
    const body = checked(leadBody, bodyOf(req))
    let written: Lead | undefined
    const [created] = await db.write(
      ...leadWritten(id, body, clock.now(), (lead) => {
        written = lead
      }),
    )
    res.status(created ? 201 : 200).json(written && leadJson(written))
  })

  router.put('/leads/:leadId/call-logs/:callLogId', takesNoQuery, parsed, async (req, res) => {
    const id = checked(idSchema, req.params.callLogId, 'call_log_id')
    const lead = await leadFor(db, callerOf(res), req.params.leadId, 'write')
    const body = checked(callLogBody, bodyOf(req))
    let written: CallLog | undefined
    const [created] = await db.write(
      ...callLogWritten({ id, leadId: lead.id }, body, clock.now(), (callLog) => {
        written = callLog
      }),
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

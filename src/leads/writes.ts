/**
 * Leads and call logs as they are written, by the CRM's requests and by `import`: what is taken, and the statements of it.
 *
 * Knows nothing of HTTP: who may write is asked elsewhere.
 */
import { z } from 'zod'
import { callLogAdded, callLogChanged } from '../db/call-logs.ts'
import { must, type Statement } from '../db/database.ts'
import { leadAdded, leadChanged } from '../db/leads.ts'
import type { CallLog, Lead } from '../db/schema.ts'
import { ServiceError } from '../errors.ts'
import { callerIdSchema } from '../ids.ts'

/** Of both: what is left out stays as it is; null clears it. */
export const leadBody = z.strictObject({
  telecaller_id: callerIdSchema,
  name: z.string().max(500).nullish(),
})

export const callLogBody = z.strictObject({
  /** RFC 3339. */
  started_at: z.iso.datetime({ offset: true }).nullish(),
  duration_seconds: z.number().min(0).nullish(),
  direction: z.enum(['inbound', 'outbound']).nullish(),
})

export type LeadBody = z.output<typeof leadBody>
export type CallLogBody = z.output<typeof callLogBody>

/** What the body says of a lead's columns; undefined is left out. */
export const leadValues = ({ telecaller_id, name }: LeadBody) => ({ telecallerId: telecaller_id, name })

export const callLogValues = ({ started_at, duration_seconds, direction }: CallLogBody) => ({
  startedAtMs: started_at == null ? started_at : Date.parse(started_at),
  durationSeconds: duration_seconds,
  direction,
})

export const callIsOfAnother = () => new ServiceError('conflict', 'This call log belongs to another lead.')

/** Creates the lead or changes it; the first statement changes a row where it is created. @param take gets it as it is then */
export function leadWritten(id: string, body: LeadBody, now: number, take: (lead: Lead) => void): Statement[] {
  const values = { ...leadValues(body), updatedAtMs: now }
  return [leadAdded({ id, createdAtMs: now, ...values, name: values.name ?? null }), leadChanged(id, values, take)]
}

/**
 * The same of a call log. Two leads may claim the same new call at once: the row itself says whose it is.
 *
 * @throws ServiceError `conflict`, inside the transaction
 */
export function callLogWritten(
  ids: Pick<CallLog, 'id' | 'leadId'>,
  body: CallLogBody,
  now: number,
  take: (callLog: CallLog) => void,
): Statement[] {
  const values = { ...callLogValues(body), updatedAtMs: now }
  const { startedAtMs = null, durationSeconds = null, direction = null } = values
  return [
    callLogAdded({ ...ids, startedAtMs, durationSeconds, direction, createdAtMs: now, updatedAtMs: now }),
    must(callLogChanged(ids, values, take), callIsOfAnother),
  ]
}

/** Leads and their calls as they are listed: what may be asked, and what a page is made of. */
import { z } from 'zod'
import { callLogsPage } from '../db/call-logs-asked.ts'
import type { Reading } from '../db/database.ts'
import { type CountedLead, countedLeadById, leadsPage } from '../db/leads-asked.ts'
import { recordingsOfCalls } from '../db/recordings-asked.ts'
import type { CallLog, Lead } from '../db/schema.ts'
import { cursorOf, cursorSchema, limitSchema, placeIn, textSought, timeInText, truthInText } from '../http/paging.ts'
import { callerIdSchema, isId } from '../ids.ts'
import { assertMay, type Caller, leadNotFound, ownerOf } from './rights.ts'

export const leadsQuery = z.strictObject({
  telecaller_id: callerIdSchema.optional(),
  q: textSought.optional().describe('Text in the name.'),
  updated_since: timeInText.optional().describe('Changed then or later; the list is in the order of the changes.'),
  limit: limitSchema,
  cursor: cursorSchema.optional(),
})

export const callLogsQuery = z.strictObject({
  has_recording: truthInText.optional(),
  since: timeInText.optional().describe('Begun then or later; a call without a time counts by when it was told.'),
  until: timeInText.optional().describe('The same, before.'),
  limit: limitSchema,
  cursor: cursorSchema.optional(),
})

export interface Listed<Row> {
  rows: Row[]
  nextCursor: string | null
}

export async function leadsFor(
  db: Reading,
  caller: Caller,
  { telecaller_id, q, updated_since, limit, cursor }: z.output<typeof leadsQuery>,
): Promise<Listed<CountedLead>> {
  const ownerId = ownerOf(caller)
  // A telecaller has no leads that are another's.
  if (ownerId !== undefined && telecaller_id !== undefined && telecaller_id !== ownerId) {
    return { rows: [], nextCursor: null }
  }
  const order = updated_since === undefined ? '' : 'updated'
  const asked = { telecallerId: ownerId ?? telecaller_id, text: q, updatedSinceMs: updated_since }
  const { rows, next } = await leadsPage(db, asked, { after: placeIn(cursor, order), limit })
  return { rows, nextCursor: next ? cursorOf(order, next) : null }
}

/** @throws ServiceError 403 or 404, on the row that is given */
export async function leadShownTo(db: Reading, caller: Caller, leadId: string): Promise<CountedLead> {
  const lead = isId(leadId) ? await countedLeadById(db, leadId) : undefined
  if (!lead) throw leadNotFound()
  assertMay(caller, lead, 'use')
  return lead
}

export interface CallWithRecordings extends CallLog {
  recordings: readonly string[]
}

export async function callLogsFor(
  db: Reading,
  caller: Caller,
  lead: Lead,
  { has_recording, since, until, limit, cursor }: z.output<typeof callLogsQuery>,
): Promise<Listed<CallWithRecordings>> {
  const asked = { leadId: lead.id, ownerId: ownerOf(caller), hasRecording: has_recording }
  const bounds = { sinceMs: since, untilMs: until }
  const { rows, next } = await callLogsPage(db, { ...asked, ...bounds }, { after: placeIn(cursor, ''), limit })
  return { rows: await withRecordings(db, rows), nextCursor: next ? cursorOf('', next) : null }
}

export async function withRecordings(db: Reading, calls: readonly CallLog[]): Promise<CallWithRecordings[]> {
  const recordings = await recordingsOfCalls(
    db,
    calls.map(({ id }) => id),
  )
  return calls.map((call) => ({ ...call, recordings: recordings.get(call.id) ?? [] }))
}

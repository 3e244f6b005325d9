/**
 * Leads and call logs as `import` reads them and `export` writes them: a row is of a lead, of a call, or of both.
 *
 * What a row may say is checked by the schemas of the HTTP routes, which have no other rules.
 */
import { ServiceError } from '../errors.ts'
import { checked } from '../http/request.ts'
import { idSchema } from '../ids.ts'
import { type CallLogBody, callLogBody, type LeadBody, leadBody } from '../leads/writes.ts'

/** In the order in which they are written; `lead_id` is of both. */
export const COLUMNS = [
  'lead_id',
  'telecaller_id',
  'name',
  'call_log_id',
  'started_at',
  'duration_seconds',
  'direction',
] as const
export type Column = (typeof COLUMNS)[number]

/** A row is no longer than the body of a request. */
export const MAX_ROW_CHARACTERS = 65_536

export const isColumn = (name: string): name is Column => (COLUMNS as readonly string[]).includes(name)

/** A row as it stands in a file; what is left out is undefined. */
export type Values = Partial<Record<Column, unknown>>

export interface RawRow {
  /** Where it begins. */
  line: number
  values: Values
}

/** A row that can't be read. */
export interface BadRow {
  line: number
  reason: string
}

/** What a row is to write; one of both at least. */
export interface CrmRow {
  line: number
  lead?: { id: string; body: LeadBody }
  call?: { id: string; leadId: string; body: CallLogBody }
}

const isSaid = (value: unknown) => value !== undefined && value !== null

/** @throws ServiceError with the sentence that the routes have for it */
export function checkedRow({ line, values }: RawRow): CrmRow {
  const { lead_id, telecaller_id, name, call_log_id, started_at, duration_seconds, direction } = values
  // What is empty in the half that a row does not have, is not said.
  const isLead = telecaller_id !== undefined || isSaid(name)
  const isCall = call_log_id !== undefined || [started_at, duration_seconds, direction].some(isSaid)
  if (!isLead && !isCall) {
    throw new ServiceError(
      'missing_parameter',
      'It has neither a telecaller_id, for a lead, nor a call_log_id, for a call.',
    )
  }
  const leadId = checked(idSchema, lead_id, 'lead_id')
  return {
    line,
    ...(isLead && { lead: { id: leadId, body: checked(leadBody, { telecaller_id, name }) } }),
    ...(isCall && {
      call: {
        id: checked(idSchema, call_log_id, 'call_log_id'),
        leadId,
        body: checked(callLogBody, { started_at, duration_seconds, direction }),
      },
    }),
  }
}

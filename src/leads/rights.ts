/**
 * Rights: who a caller is, and what they may do to a lead.
 *
 * The lead's owner decides, as the database has it at every request. Knows nothing of HTTP or tokens.
 */
import type { Reading, Statement } from '../db/database.ts'
import { leadById, leadStands } from '../db/leads.ts'
import type { Lead } from '../db/schema.ts'
import { ServiceError } from '../errors.ts'
import { isId } from '../ids.ts'

export const ROLES = ['telecaller', 'supervisor', 'service'] as const
export type Role = (typeof ROLES)[number]

export interface Caller {
  id: string
  role: Role
  /** As the token has it. */
  name?: string
}

/** Whose leads alone a caller may see; undefined for those who may see all. */
export const ownerOf = ({ id, role }: Caller): string | undefined => (role === 'telecaller' ? id : undefined)

export const leadNotFound = () => new ServiceError('lead_not_found', 'There is no such lead.')

/** What a caller wants of a lead: `upload` brings bytes in, `use` lists, plays and deletes, `write` changes the lead itself. */
export type Act = 'upload' | 'use' | 'write'

/** For whoever has the lead's row already. @throws ServiceError 403 unless the caller may do this to it */
export function assertMay(caller: Caller, lead: Pick<Lead, 'telecallerId'>, act: Act): void {
  if (caller.role === 'telecaller' && lead.telecallerId !== caller.id) {
    throw new ServiceError('not_your_lead', 'This lead belongs to another telecaller.')
  }
  if (caller.role === 'supervisor' && act === 'upload') {
    throw new ServiceError('forbidden', 'A supervisor listens to recordings and uploads none.')
  }
}

/** The lead, if the caller may do this to it. @throws ServiceError 403 or 404 as the contract says */
export async function leadFor(db: Reading, caller: Caller, leadId: string, act: Act): Promise<Lead> {
  if (act === 'write' && caller.role !== 'service') {
    throw new ServiceError('forbidden', 'Only the CRM itself may write leads and call logs.')
  }
  const lead = isId(leadId) ? await leadById(db, leadId) : undefined
  if (!lead) throw leadNotFound()
  assertMay(caller, lead, act)
  return lead
}

export const callLogNotFound = () => new ServiceError('call_log_not_found', 'There is no such call log with this lead.')

/** What is to be done: by whom, to which lead, and for which of its calls. */
export interface Claim {
  caller: Caller
  act: Act
  leadId: string
  callLogId?: string | null | undefined
}

/**
 * A condition of a transaction: the caller may do this to the lead as it stands now, and the call is one with it.
 *
 * @throws ServiceError `lead_not_found`, 403, `call_log_not_found`, inside the transaction, which is undone
 */
export const stillMay = ({ caller, act, leadId, callLogId = null }: Claim): Statement =>
  leadStands({ leadId, callLogId }, (found) => {
    if (!found) throw leadNotFound()
    assertMay(caller, found, act)
    if (callLogId !== null && found.callIsOf !== leadId) throw callLogNotFound()
    return true
  })

/**
 * What is asked of a lead within a transaction: rights that were checked when a request came may have moved since.
 */
import { eq, sql } from 'drizzle-orm'
import { type Act, assertMay, type Caller } from '../auth/tokens.ts'
import { type Database, preparedOnce, type Statement } from '../db/database.ts'
import { leads } from '../db/schema.ts'
import { ServiceError } from '../errors.ts'

/** The owner of a lead, and whose a call is. */
const standing = preparedOnce((orm) =>
  orm
    .select({
      telecallerId: leads.telecallerId,
      callIsOf: sql<string | null>`(select lead_id from call_logs where id = ${sql.placeholder('callLogId')})`,
    })
    .from(leads)
    .where(eq(leads.id, sql.placeholder('leadId')))
    .prepare(),
)

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
export const stillMay = (db: Database, { caller, act, leadId, callLogId = null }: Claim): Statement => ({
  run() {
    const found = standing(db).get({ leadId, callLogId })
    if (!found) throw new ServiceError('lead_not_found', 'There is no such lead.')
    assertMay(caller, found, act)
    if (callLogId !== null && found.callIsOf !== leadId) throw callLogNotFound()
    return { changes: 0 }
  },
})

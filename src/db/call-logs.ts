/** Call logs: read, and written by the CRM. */
import { and, eq, sql } from 'drizzle-orm'
import { atHand, bind, kept, type Reading, returning, type Statement } from './database.ts'
import { changesOf, rowOf } from './placeholders.ts'
import { type CallLog, callLogs } from './schema.ts'

const byId = atHand((orm) =>
  orm
    .select()
    .from(callLogs)
    .where(eq(callLogs.id, sql.placeholder('id'))),
)
const insert = kept((orm) => orm.insert(callLogs).values(rowOf(callLogs)).onConflictDoNothing())

export const callLogById = (db: Reading, id: string) => db.get(byId, { id })

/** Adds the call log where there is none of its id, whichever lead that would be with. */
export const callLogAdded = (callLog: CallLog): Statement => bind(insert, { ...callLog })

/** What is left out stays as it is. */
export type CallLogChange = Partial<Pick<CallLog, 'startedAtMs' | 'durationSeconds' | 'direction'>> &
  Pick<CallLog, 'updatedAtMs'>

const changes = changesOf((orm, values) =>
  orm
    .update(callLogs)
    .set(values)
    .where(and(eq(callLogs.id, sql.placeholder('id')), eq(callLogs.leadId, sql.placeholder('leadId'))))
    .returning(),
)

/** Changes nothing where the call is with another lead. @param take gets the call log as it is then */
export const callLogChanged = (
  { id, leadId }: Pick<CallLog, 'id' | 'leadId'>,
  change: CallLogChange,
  take: (callLog: CallLog) => void,
): Statement => returning(changes(change), { ...change, id, leadId }, ([callLog]) => callLog && take(callLog))

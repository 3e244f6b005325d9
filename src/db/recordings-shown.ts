/** Recordings as they are shown: with what is known of their call, and their lead's name. */
import { eq, getTableColumns, sql } from 'drizzle-orm'
import { callLogById } from './call-logs.ts'
import { kept, type Reading } from './database.ts'
import { leadById } from './leads.ts'
import { type CallLog, type Recording, recordings } from './schema.ts'

/** One look-up for each, and no join: a join is planned anew with each question, and may be planned badly. */
export const ofCall = <T>(column: string) =>
  sql<T>`(select ${sql.raw(`call_logs.${column}`)} from call_logs where call_logs.id = recordings.call_log_id)`
export const ofLead = <T>(column: string) =>
  sql<T>`(select ${sql.raw(`leads.${column}`)} from leads where leads.id = recordings.lead_id)`

export const shownColumns = {
  ...getTableColumns(recordings),
  leadName: ofLead<string | null>('name'),
  callStartedAtMs: ofCall<number | null>('started_at_ms'),
  callDurationSeconds: ofCall<number | null>('duration_seconds'),
  callDirection: ofCall<CallLog['direction']>('direction'),
}

export interface ShownRecording extends Recording {
  leadName: string | null
  callStartedAtMs: number | null
  callDurationSeconds: number | null
  callDirection: CallLog['direction']
}

const byId = kept((orm) =>
  orm
    .select(shownColumns)
    .from(recordings)
    .where(eq(recordings.id, sql.placeholder('id'))),
)

export const shownById = (db: Reading, id: string): Promise<ShownRecording | undefined> | ShownRecording | undefined =>
  db.get(byId, { id })

/** A recording that is at hand, as it is shown. */
export async function shownOf(db: Reading, recording: Recording): Promise<ShownRecording> {
  const [lead, call] = await Promise.all([leadById(db, recording.leadId), callLogById(db, recording.callLogId)])
  return {
    ...recording,
    leadName: lead?.name ?? null,
    callStartedAtMs: call?.startedAtMs ?? null,
    callDurationSeconds: call?.durationSeconds ?? null,
    callDirection: call?.direction ?? null,
  }
}

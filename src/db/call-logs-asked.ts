/** The calls with a lead, a page at a time, the newest first. */
import { and, eq, getTableColumns, sql } from 'drizzle-orm'
import { once, type Query, type Reading } from './database.ts'
import { type CallLog, callLogs } from './schema.ts'
import { inOrder, type Order, type Page, type Place, pageOf, type Walk } from './walk.ts'

export interface CallLogsAsked {
  leadId: string
  /** The lead is this telecaller's today. */
  ownerId?: string | undefined
  hasRecording?: boolean | undefined
  sinceMs?: number | undefined
  untilMs?: number | undefined
}

/** When a call was, or else when it was told; written as the indexes have it. */
const callTime = sql<number>`(case when ${callLogs.startedAtMs} is null then ${callLogs.createdAtMs} else ${callLogs.startedAtMs} end)`
const order: Order = { value: callTime, id: callLogs.id, isDescending: true, isExpression: true }
export const aRecording = sql`(select recordings.id from recordings where recordings.call_log_id = call_logs.id limit 1)`
export const ownerOfCall = sql<string>`(select leads.telecaller_id from leads where leads.id = call_logs.lead_id)`

export function callLogsWalk({ leadId, ownerId, hasRecording, sinceMs, untilMs }: CallLogsAsked): Walk<CallLog> {
  const isWith = eq(callLogs.leadId, leadId)
  const sifting =
    hasRecording === undefined ? undefined : hasRecording ? sql`${aRecording} is not null` : sql`${aRecording} is null`
  const isOwn = ownerId === undefined ? undefined : sql`${ownerOfCall} = ${ownerId}`
  return {
    order,
    atLeast: sinceMs,
    below: untilMs,
    isSifted: sifting !== undefined,
    placed: (within, behind): Query<Place> =>
      once((orm) =>
        orm
          .select({ value: callTime, id: callLogs.id })
          .from(callLogs)
          .where(and(isWith, within))
          .orderBy(...inOrder(order))
          .limit(1)
          .offset(behind),
      ),
    rows: (within, limit): Query<CallLog> =>
      once((orm) =>
        orm
          .select(getTableColumns(callLogs))
          .from(callLogs)
          .where(and(isWith, within, sifting, isOwn))
          .orderBy(...inOrder(order))
          .limit(limit),
      ),
    placeOf: ({ startedAtMs, createdAtMs, id }) => ({ value: startedAtMs ?? createdAtMs, id }),
  }
}

export const callLogsPage = (
  db: Reading,
  asked: CallLogsAsked,
  page: { after: Place | undefined; limit: number },
): Promise<Page<CallLog>> => pageOf(db, callLogsWalk(asked), page)

/** Rows as an operator lists them: in the order of their ids, some at a time, of all leads or of one. */
import { and, asc, eq, gt, inArray } from 'drizzle-orm'
import { once, type Reading } from './database.ts'
import { callLogs, leads, OPEN_STATES, recordings, uploads } from './schema.ts'

export interface Listing {
  leadId?: string | undefined
  /** The last one seen; empty at the beginning. */
  after: string
  limit: number
}

export const leadsListed = (db: Reading, { leadId, after, limit }: Listing) =>
  db.all(
    once((orm) =>
      orm
        .select()
        .from(leads)
        .where(and(gt(leads.id, after), leadId === undefined ? undefined : eq(leads.id, leadId)))
        .orderBy(asc(leads.id))
        .limit(limit),
    ),
  )

export const callLogsListed = (db: Reading, { leadId, after, limit }: Listing) =>
  db.all(
    once((orm) =>
      orm
        .select()
        .from(callLogs)
        .where(and(gt(callLogs.id, after), leadId === undefined ? undefined : eq(callLogs.leadId, leadId)))
        .orderBy(asc(callLogs.id))
        .limit(limit),
    ),
  )

/** Ids of ours rise with time: the oldest first. */
export const recordingsListed = (db: Reading, { leadId, after, limit }: Listing) =>
  db.all(
    once((orm) =>
      orm
        .select()
        .from(recordings)
        .where(and(gt(recordings.id, after), leadId === undefined ? undefined : eq(recordings.leadId, leadId)))
        .orderBy(asc(recordings.id))
        .limit(limit),
    ),
  )

/** Those that may still become a recording. */
export const openUploadsListed = (db: Reading, { leadId, after, limit }: Listing) =>
  db.all(
    once((orm) =>
      orm
        .select()
        .from(uploads)
        .where(
          and(
            gt(uploads.id, after),
            inArray(uploads.state, OPEN_STATES),
            leadId === undefined ? undefined : eq(uploads.leadId, leadId),
          ),
        )
        .orderBy(asc(uploads.id))
        .limit(limit),
    ),
  )

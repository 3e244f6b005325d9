/** Leads: read, written by the CRM, and asked within a transaction. */
import { eq, sql } from 'drizzle-orm'
import { atHand, bind, holds, kept, type Reading, returning, type Statement } from './database.ts'
import { changesOf, rowOf } from './placeholders.ts'
import { type Lead, leads } from './schema.ts'

const byId = atHand((orm) =>
  orm
    .select()
    .from(leads)
    .where(eq(leads.id, sql.placeholder('id'))),
)
const insert = kept((orm) => orm.insert(leads).values(rowOf(leads)).onConflictDoNothing())
const standing = kept((orm) =>
  orm
    .select({
      telecallerId: leads.telecallerId,
      callIsOf: sql<string | null>`(select lead_id from call_logs where id = ${sql.placeholder('callLogId')})`,
    })
    .from(leads)
    .where(eq(leads.id, sql.placeholder('leadId'))),
)

export const leadById = (db: Reading, id: string) => db.get(byId, { id })

/** Adds the lead where there is none of its id. */
export const leadAdded = (lead: Lead): Statement => bind(insert, { ...lead })

/** What is left out stays as it is. */
export type LeadChange = Partial<Pick<Lead, 'telecallerId' | 'name'>> & Pick<Lead, 'updatedAtMs'>

const changes = changesOf((orm, values) =>
  orm
    .update(leads)
    .set(values)
    .where(eq(leads.id, sql.placeholder('id')))
    .returning(),
)

/** @param take gets the lead as it is then */
export const leadChanged = (id: string, change: LeadChange, take: (lead: Lead) => void): Statement =>
  returning(changes(change), { ...change, id }, ([lead]) => lead && take(lead))

/** The owner of a lead, and the lead that a call is with. */
export interface Standing {
  telecallerId: string
  callIsOf: string | null
}

/** A condition on a lead and a call as they stand when the transaction runs. */
export const leadStands = (
  ids: { leadId: string; callLogId: string | null },
  passes: (standing: Standing | undefined) => boolean,
): Statement => holds(standing, ids, passes)

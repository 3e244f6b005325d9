/** Leads, a page at a time, each with what there is of its recordings. */
import { and, eq, getTableColumns, sql } from 'drizzle-orm'
import { kept, once, type Query, type Reading } from './database.ts'
import { type Lead, leads } from './schema.ts'
import { holding } from './text-sought.ts'
import { inOrder, type Order, type Page, type Place, pageOf, type Walk } from './walk.ts'

export interface LeadsAsked {
  telecallerId?: string | undefined
  /** Text in the name. */
  text?: string | undefined
  /** Those that were changed since, in the order of their changes. */
  updatedSinceMs?: number | undefined
}

export interface CountedLead extends Lead {
  recordings: number
  lastRecordingAtMs: number | null
}

const columns = {
  ...getTableColumns(leads),
  recordings: sql<number>`(select coalesce(sum(lead_totals.recordings), 0) from lead_totals where lead_totals.lead_id = leads.id)`,
  lastRecordingAtMs: sql<
    number | null
  >`(select recordings.created_at_ms from recordings where recordings.lead_id = leads.id
    order by recordings.created_at_ms desc, recordings.id desc limit 1)`,
}

const byId = kept((orm) =>
  orm
    .select(columns)
    .from(leads)
    .where(eq(leads.id, sql.placeholder('id'))),
)

export const countedLeadById = (db: Reading, id: string): Promise<CountedLead | undefined> | CountedLead | undefined =>
  db.get(byId, { id })

export function leadsWalk({ telecallerId, text, updatedSinceMs }: LeadsAsked): Walk<CountedLead> {
  const byChange = updatedSinceMs !== undefined
  const value = byChange ? leads.updatedAtMs : leads.createdAtMs
  const order: Order = { value, id: leads.id, isDescending: !byChange }
  const driver = telecallerId === undefined || byChange ? undefined : eq(leads.telecallerId, telecallerId)
  const sifting = [
    telecallerId !== undefined && byChange ? sql`coalesce(${leads.telecallerId}, '') = ${telecallerId}` : undefined,
    text === undefined ? undefined : holding(leads.name, text),
  ].filter((condition) => condition !== undefined)
  return {
    order,
    atLeast: updatedSinceMs,
    isSifted: sifting.length > 0,
    placed: (within, behind): Query<Place> =>
      once((orm) =>
        orm
          .select({ value, id: leads.id })
          .from(leads)
          .where(and(driver, within))
          .orderBy(...inOrder(order))
          .limit(1)
          .offset(behind),
      ),
    rows: (within, limit): Query<CountedLead> =>
      once((orm) =>
        orm
          .select(columns)
          .from(leads)
          .where(and(driver, within, ...sifting))
          .orderBy(...inOrder(order))
          .limit(limit),
      ),
    placeOf: (lead) => ({ value: byChange ? lead.updatedAtMs : lead.createdAtMs, id: lead.id }),
  }
}

export const leadsPage = (
  db: Reading,
  asked: LeadsAsked,
  page: { after: Place | undefined; limit: number },
): Promise<Page<CountedLead>> => pageOf(db, leadsWalk(asked), page)

/**
 * Figures of a period: recordings by when they were stored, calls by when they were. Both are counted as they stand, over
 * indexes by time; so a period may have so many of them and no more.
 */
import { setImmediate as othersTurn } from 'node:timers/promises'
import { and, type SQL, sql } from 'drizzle-orm'
import { aRecording, ownerOfCall } from './call-logs-asked.ts'
import { once, type Query, type Reading } from './database.ts'
import { aheadOf, inOrder, type Order, type Place, within } from './walk.ts'

export const GROUPINGS = ['telecaller', 'day', 'lead'] as const
export type Grouping = (typeof GROUPINGS)[number]

export interface StatisticsAsked {
  /** Of this telecaller's leads of today alone. */
  ownerId?: string | undefined
  /** From the first to before the second. */
  sinceMs?: number | undefined
  untilMs?: number | undefined
  grouping: Grouping
}

/** The key is a telecaller, a lead, or the number of a day since 1970 (UTC). */
export interface Figures {
  key: string | number
  recordings: number
  seconds: number
  bytes: number
  calls: number
  callsWithoutRecording: number
}

/** Recordings, and calls, that a period may have. */
export const MOST_COUNTED = 10_000
/** Counted in one statement: while SQLite does, nobody else has a turn. */
const STEP = 4_000

/** What is counted: its table, its order by time, and the figures of a group. */
interface Counted {
  table: SQL
  time: SQL<number>
  isExpression: boolean
  id: SQL
  leadId: SQL
  telecaller: SQL
  figures: Record<string, SQL<number>>
}

const RECORDINGS: Counted = {
  table: sql`recordings`,
  time: sql<number>`recordings.created_at_ms`,
  isExpression: false,
  id: sql`recordings.id`,
  leadId: sql`recordings.lead_id`,
  telecaller: sql`recordings.telecaller_id`,
  figures: {
    recordings: sql<number>`count(*)`,
    seconds: sql<number>`coalesce(sum(recordings.duration_seconds), 0)`,
    bytes: sql<number>`sum(recordings.size)`,
  },
}
const CALLS: Counted = {
  table: sql`call_logs`,
  // Written as the indexes have it.
  time: sql<number>`(case when call_logs.started_at_ms is null then call_logs.created_at_ms else call_logs.started_at_ms end)`,
  isExpression: true,
  id: sql`call_logs.id`,
  leadId: sql`call_logs.lead_id`,
  telecaller: ownerOfCall,
  figures: {
    calls: sql<number>`count(*)`,
    callsWithoutRecording: sql<number>`sum(case when ${aRecording} is null then 1 else 0 end)`,
  },
}

const keyOf = ({ time, leadId, telecaller }: Counted, grouping: Grouping): SQL<string | number> =>
  ({
    telecaller: sql<string>`${telecaller}`,
    day: sql<number>`${time} / 86400000`,
    lead: sql<string>`${leadId}`,
  })[grouping]

type Group = Record<string, string | number>

/** The two questions about rows of a range: the place so many behind the first, and the figures of their groups. */
function questions(counted: Counted, { ownerId, grouping }: StatisticsAsked) {
  const { table, time, isExpression, id, leadId, figures } = counted
  const order: Order = { value: time, id, isDescending: false, isExpression }
  // The telecaller's leads first: in SQLite a cross join is done in the order that it is written in.
  const from = ownerId === undefined ? table : sql`leads cross join ${table}`
  const isOwn = ownerId === undefined ? undefined : sql`leads.telecaller_id = ${ownerId} and ${leadId} = leads.id`
  return {
    order,
    isOwn: ownerId !== undefined,
    placed: (range: SQL | undefined, behind: number): Query<Place> => {
      const ordered = ownerId === undefined ? inOrder(order) : []
      return once((orm) =>
        orm
          .select({ value: time, id: sql<string>`${id}` })
          .from(from)
          .where(and(isOwn, range))
          .orderBy(...ordered)
          .limit(1)
          .offset(behind),
      )
    },
    groups: (range: SQL | undefined): Query<Group> =>
      once((orm) =>
        orm
          .select({ key: keyOf(counted, grouping), ...figures })
          .from(from)
          .where(and(isOwn, range))
          .groupBy(sql`1`),
      ) as Query<Group>,
  }
}

/** @returns undefined where the period has more than are counted */
async function groupsOf(db: Reading, counted: Counted, asked: StatisticsAsked): Promise<Group[] | undefined> {
  const { order, isOwn, placed, groups } = questions(counted, asked)
  const to = aheadOf(asked.untilMs)
  let behind = aheadOf(asked.sinceMs)
  if (await db.get(placed(within(order, behind, to), MOST_COUNTED))) return undefined
  if (isOwn) return db.all(groups(within(order, behind, to)))
  const found: Group[] = []
  for (;;) {
    const end = await db.get(placed(within(order, behind, to), STEP - 1))
    found.push(...(await db.all(groups(within(order, behind, end ?? to)))))
    if (!end) return found
    behind = end
    await othersTurn()
  }
}

/** @returns undefined where the period has more than are counted */
export async function statisticsOf(db: Reading, asked: StatisticsAsked): Promise<Figures[] | undefined> {
  const byKey = new Map<string | number, Figures>()
  for (const counted of [RECORDINGS, CALLS]) {
    const groups = await groupsOf(db, counted, asked)
    if (!groups) return undefined
    for (const { key = '', ...figures } of groups) {
      const sums: Figures = byKey.get(key) ?? {
        ...{ key, recordings: 0, seconds: 0, bytes: 0, calls: 0, callsWithoutRecording: 0 },
      }
      byKey.set(key, sums)
      for (const [name, figure] of Object.entries(figures)) {
        sums[name as keyof Omit<Figures, 'key'>] += Number(figure)
      }
    }
  }
  return [...byKey.values()].sort((a, b) => (a.key < b.key ? -1 : 1))
}

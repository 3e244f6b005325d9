/** Recordings across leads: which of them, in which order, a page at a time. */
import { and, asc, desc, eq, inArray, type SQL, type SQLWrapper, sql } from 'drizzle-orm'
import { once, type Query, type Reading } from './database.ts'
import { ofCall, ofLead, type ShownRecording, shownColumns } from './recordings-shown.ts'
import { type CallLog, recordings } from './schema.ts'
import { holding } from './text-sought.ts'
import { inOrder, isMoreThan, type Order, type Page, type Place, pageOf, type Walk } from './walk.ts'

export const SORTS = ['newest', 'oldest', 'longest', 'largest'] as const
export type Sort = (typeof SORTS)[number]

/** What is asked for; what is left out is no condition. Times are from the first to before the second. */
export interface RecordingsAsked {
  /** Recordings of leads that are this telecaller's today. */
  ownerId?: string | undefined
  /** Whose the lead was when it was recorded. */
  telecallerId?: string | undefined
  leadId?: string | undefined
  callLogId?: string | undefined
  sha256?: string | undefined
  sinceMs?: number | undefined
  untilMs?: number | undefined
  callSinceMs?: number | undefined
  callUntilMs?: number | undefined
  direction?: CallLog['direction'] | undefined
  minSeconds?: number | undefined
  maxSeconds?: number | undefined
  /** Text in the name of the file or of the lead. */
  text?: string | undefined
}

/** Those that can be put in an order that no index has, for one page. */
export const MOST_SORTED = 5_000

const callStartedAt = ofCall('started_at_ms')
const leadName = ofLead('name')
const owner = ofLead('telecaller_id')

interface Driver {
  /** What it is a condition on. */
  names: (keyof RecordingsAsked)[]
  is: SQL | undefined
}

/** The condition that an index is entered by: of those that are asked, the one that leaves the fewest. */
function drivenBy({ ownerId, callLogId, leadId, sha256, telecallerId }: RecordingsAsked): Driver {
  // Of one lead, all are the telecaller's or none: that leaves out no row on the way.
  const isOwn = ownerId === undefined ? undefined : isText(owner, ownerId)
  if (callLogId !== undefined)
    return { names: ['callLogId', 'ownerId'], is: and(eq(recordings.callLogId, callLogId), isOwn) }
  if (sha256 !== undefined) return { names: ['sha256'], is: eq(recordings.sha256, sha256) }
  if (leadId !== undefined) return { names: ['leadId', 'ownerId'], is: and(eq(recordings.leadId, leadId), isOwn) }
  if (telecallerId !== undefined) return { names: ['telecallerId'], is: eq(recordings.telecallerId, telecallerId) }
  return { names: [], is: undefined }
}

/** Equal, and of no use to enter another index by: the planners know no costs of the bounds. */
const isText = (column: SQLWrapper, value: string) => sql`coalesce(${column}, '') = ${value}`

/** The conditions that sift what the index gives. */
function siftedBy(asked: RecordingsAsked, { names }: Driver): SQL[] {
  const { ownerId, telecallerId, leadId, callLogId, sha256, direction, text } = asked
  const { callSinceMs, callUntilMs, minSeconds, maxSeconds } = asked
  const texts: [keyof RecordingsAsked, SQLWrapper, string | undefined][] = [
    ['ownerId', owner, ownerId],
    ['callLogId', recordings.callLogId, callLogId],
    ['sha256', recordings.sha256, sha256],
    ['leadId', recordings.leadId, leadId],
    ['telecallerId', recordings.telecallerId, telecallerId],
    ['direction', ofCall('direction'), direction ?? undefined],
  ]
  const sifting = texts.flatMap(([name, column, value]) =>
    value === undefined || names.includes(name) ? [] : [isText(column, value)],
  )
  if (callSinceMs !== undefined) sifting.push(sql`${callStartedAt} >= ${callSinceMs}`)
  if (callUntilMs !== undefined) sifting.push(sql`${callStartedAt} < ${callUntilMs}`)
  if (minSeconds !== undefined) sifting.push(sql`${recordings.durationSeconds} >= ${minSeconds}`)
  if (maxSeconds !== undefined) sifting.push(sql`${recordings.durationSeconds} <= ${maxSeconds}`)
  if (text !== undefined) sifting.push(sql`(${holding(recordings.filename, text)} or ${holding(leadName, text)})`)
  return sifting
}

const byTime = (isDescending: boolean): Order => ({
  value: recordings.createdAtMs,
  id: recordings.id,
  isDescending,
})

export function recordingsWalk(asked: RecordingsAsked, sort: 'newest' | 'oldest'): Walk<ShownRecording> {
  const driver = drivenBy(asked)
  const sifting = siftedBy(asked, driver)
  const order = byTime(sort === 'newest')
  return {
    order,
    atLeast: asked.sinceMs,
    below: asked.untilMs,
    isSifted: sifting.length > 0,
    placed: (within, behind): Query<Place> =>
      once((orm) =>
        orm
          .select({ value: recordings.createdAtMs, id: recordings.id })
          .from(recordings)
          .where(and(driver.is, within))
          .orderBy(...inOrder(order))
          .limit(1)
          .offset(behind),
      ),
    rows: (within, limit): Query<ShownRecording> =>
      once((orm) =>
        orm
          .select(shownColumns)
          .from(recordings)
          .where(and(driver.is, within, ...sifting))
          .orderBy(...inOrder(order))
          .limit(limit),
      ),
    placeOf: ({ createdAtMs, id }) => ({ value: createdAtMs, id }),
  }
}

/** Those whose duration is not known come last. */
const MEASURES = {
  longest: {
    column: sql<number>`coalesce(${recordings.durationSeconds}, -1)`,
    of: (recording: ShownRecording) => recording.durationSeconds ?? -1,
  },
  largest: { column: recordings.size, of: (recording: ShownRecording) => recording.size },
}

/** @returns undefined where there are more than can be sorted */
async function sortedPage(
  db: Reading,
  asked: RecordingsAsked,
  sort: keyof typeof MEASURES,
  { after, limit }: { after: Place | undefined; limit: number },
): Promise<Page<ShownRecording> | undefined> {
  const walk = recordingsWalk(asked, 'newest')
  if (await isMoreThan(db, walk, MOST_SORTED)) return undefined
  const { column, of } = MEASURES[sort]
  const driver = drivenBy(asked)
  const conditions = [
    driver.is,
    asked.sinceMs === undefined ? undefined : sql`${recordings.createdAtMs} >= ${asked.sinceMs}`,
    asked.untilMs === undefined ? undefined : sql`${recordings.createdAtMs} < ${asked.untilMs}`,
    ...siftedBy(asked, driver),
    after && sql`(${column}, ${recordings.id}) < (${after.value}, ${after.id})`,
  ]
  const rows = await db.all(
    once((orm) =>
      orm
        .select(shownColumns)
        .from(recordings)
        .where(and(...conditions))
        .orderBy(desc(column), desc(recordings.id))
        .limit(limit + 1),
    ),
  )
  const last = rows[limit - 1]
  return {
    rows: rows.slice(0, limit),
    next: rows.length > limit && last ? { value: of(last), id: last.id } : undefined,
  }
}

/** A page of those that are asked for. @returns undefined where the order needs fewer than there are */
export const recordingsPage = (
  db: Reading,
  asked: RecordingsAsked,
  sort: Sort,
  page: { after: Place | undefined; limit: number },
): Promise<Page<ShownRecording> | undefined> =>
  sort === 'newest' || sort === 'oldest'
    ? pageOf(db, recordingsWalk(asked, sort), page)
    : sortedPage(db, asked, sort, page)

/** What is shown of a call of its recordings: the rest is asked for by the call. */
const MOST_OF_A_CALL = 200
const MOST_OF_CALLS = 2_000

const idsOf = (callLogIds: readonly string[], limit: number) =>
  once((orm) =>
    orm
      .select({ id: recordings.id, callLogId: recordings.callLogId, createdAtMs: recordings.createdAtMs })
      .from(recordings)
      .where(inArray(recordings.callLogId, [...callLogIds]))
      .limit(limit),
  )
const idsOfOne = (callLogId: string) =>
  once((orm) =>
    orm
      .select({ id: recordings.id, callLogId: recordings.callLogId, createdAtMs: recordings.createdAtMs })
      .from(recordings)
      .where(eq(recordings.callLogId, callLogId))
      .orderBy(asc(recordings.createdAtMs), asc(recordings.id))
      .limit(MOST_OF_A_CALL),
  )

/** The ids of the recordings of each call, the oldest first. */
export async function recordingsOfCalls(
  db: Reading,
  callLogIds: readonly string[],
): Promise<ReadonlyMap<string, readonly string[]>> {
  if (callLogIds.length === 0) return new Map()
  let rows = callLogIds.length === 1 ? [] : await db.all(idsOf(callLogIds, MOST_OF_CALLS + 1))
  // So many that each call is asked for by itself.
  if (callLogIds.length === 1 || rows.length > MOST_OF_CALLS) {
    rows = (await Promise.all(callLogIds.map((id) => db.all(idsOfOne(id))))).flat()
  }
  rows.sort((a, b) => a.createdAtMs - b.createdAtMs || (a.id < b.id ? -1 : 1))
  const ids = new Map<string, string[]>()
  for (const { callLogId, id } of rows) {
    const known = ids.get(callLogId) ?? []
    if (known.length < MOST_OF_A_CALL) ids.set(callLogId, [...known, id])
  }
  return ids
}

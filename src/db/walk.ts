/**
 * Pages of rows in the order of a number and an id, each page with a bound on what it may cost.
 *
 * An index gives the rows in that order; what else is asked of them sifts them on the way. A page ends when it is full or
 * when so many rows were looked at, and says where the next one goes on: it may be short, or empty, and not the last.
 */
import { setImmediate as othersTurn } from 'node:timers/promises'
import { and, asc, desc, type SQL, type SQLWrapper, sql } from 'drizzle-orm'
import type { Query, Reading } from './database.ts'

/** A row's place in the order. */
export interface Place {
  value: number
  id: string
}

/** What rows are in the order of: of two with one value, by their ids. */
export interface Order {
  value: SQLWrapper
  id: SQLWrapper
  isDescending: boolean
  /** Whether the value is an expression that the index is made of: SQLite enters that by the value alone. */
  isExpression?: boolean
}

/** Rows that are looked at in one statement: while SQLite does, nobody else has a turn. */
const STEP = 2_000
/** Rows that are looked at for one page. */
const MOST_LOOKED_AT = 4_000

export interface Walk<Row> {
  order: Order
  /** Bounds of the value; the upper one is outside. */
  atLeast?: number | undefined
  below?: number | undefined
  /** Whether rows are left out that the index gives. */
  isSifted: boolean
  /** The place of the row that comes so many behind the first, of those that the index gives. */
  placed(within: SQL | undefined, behind: number): Query<Place>
  /** The first rows that are asked for. */
  rows(within: SQL | undefined, limit: number): Query<Row>
  placeOf(row: Row): Place
}

export interface Page<Row> {
  rows: Row[]
  /** Where the next one begins; undefined behind the last. */
  next: Place | undefined
}

const isLess = (a: Place, b: Place) => a.value < b.value || (a.value === b.value && a.id < b.id)
/** No row has an empty id: this is ahead of all that have the value. */
export const aheadOf = (value: number | undefined): Place | undefined =>
  value === undefined ? undefined : { value, id: '' }

/** A condition on rows: behind one place, and no farther than another. As row values, which an index is entered by. */
export function within(order: Order, behind: Place | undefined, to: Place | undefined): SQL | undefined {
  const { value, id, isDescending, isExpression } = order
  const key = sql`(${value}, ${id})`
  const isBehind = isDescending ? sql`<` : sql`>`
  const isNoFarther = isDescending ? sql`>=` : sql`<=`
  return and(
    behind && isExpression ? sql`${value} ${isBehind}= ${behind.value}` : undefined,
    to && isExpression ? sql`${value} ${isNoFarther} ${to.value}` : undefined,
    behind && sql`${key} ${isBehind} (${behind.value}, ${behind.id})`,
    to && sql`${key} ${isNoFarther} (${to.value}, ${to.id})`,
  )
}

/** Of two bounds, the one that leaves less; each order has its own. */
function boundsOf<Row>({ order, atLeast, below }: Walk<Row>, after: Place | undefined) {
  const [from, to] = order.isDescending ? [below, atLeast] : [atLeast, below]
  const first = aheadOf(from)
  const isFarther = after && first && (order.isDescending ? isLess(after, first) : isLess(first, after))
  return { behind: isFarther || !first ? after : first, to: aheadOf(to) }
}

export const inOrder = ({ value, id, isDescending }: Order): SQL[] => {
  const way = isDescending ? desc : asc
  return [way(value), way(id)]
}

/** The page behind a place. */
export async function pageOf<Row>(
  db: Reading,
  walk: Walk<Row>,
  { after, limit }: { after: Place | undefined; limit: number },
  { step, most } = { step: STEP, most: MOST_LOOKED_AT },
): Promise<Page<Row>> {
  const rows: Row[] = []
  let { behind, to } = boundsOf(walk, after)
  for (let lookedAt = 0; ; lookedAt += step) {
    if (lookedAt > 0) await othersTurn()
    const end = walk.isSifted ? await db.get(walk.placed(within(walk.order, behind, to), step - 1)) : undefined
    const range = within(walk.order, behind, end ?? to)
    rows.push(...(await db.all(walk.rows(range, limit + 1 - rows.length))))
    const last = rows[limit - 1]
    if (rows.length > limit && last) return { rows: rows.slice(0, limit), next: walk.placeOf(last) }
    if (!end) return { rows, next: undefined }
    if (lookedAt + step >= most) return { rows, next: end }
    behind = end
  }
}

/** Whether the index gives more rows than so many. */
export async function isMoreThan<Row>(db: Reading, walk: Walk<Row>, count: number): Promise<boolean> {
  const { behind, to } = boundsOf(walk, undefined)
  return (await db.get(walk.placed(within(walk.order, behind, to), count))) !== undefined
}

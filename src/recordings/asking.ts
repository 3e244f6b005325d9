/**
 * Questions across leads: which recordings there are, and figures of a period. What may be asked, and what it means.
 *
 * Knows nothing of Express; a telecaller's own leads are a condition of every statement.
 */
import { z } from 'zod'
import type { Reading } from '../db/database.ts'
import { MOST_SORTED, type RecordingsAsked, recordingsPage, SORTS, type Sort } from '../db/recordings-asked.ts'
import type { ShownRecording } from '../db/recordings-shown.ts'
import { type Figures, GROUPINGS, MOST_COUNTED, statisticsOf } from '../db/statistics.ts'
import { ServiceError } from '../errors.ts'
import { cursorOf, cursorSchema, limitSchema, placeIn, secondsInText, textSought, timeInText } from '../http/paging.ts'
import { callerIdSchema, idSchema } from '../ids.ts'
import { type Caller, ownerOf } from '../leads/rights.ts'

export const recordingsQuery = z.strictObject({
  since: timeInText.optional().describe('Stored then or later.'),
  until: timeInText.optional().describe('Stored before.'),
  call_since: timeInText.optional().describe('Of calls that began then or later.'),
  call_until: timeInText.optional().describe('Of calls that began before.'),
  telecaller_id: callerIdSchema.optional().describe('Who had the lead when it was stored.'),
  lead_id: idSchema.optional(),
  call_log_id: idSchema.optional(),
  direction: z.enum(['inbound', 'outbound']).optional(),
  sha256: z
    .string()
    .regex(/^[0-9a-fA-F]{64}$/, 'must be 64 hexadecimal digits')
    .transform((hex) => hex.toLowerCase())
    .optional(),
  min_seconds: secondsInText.optional(),
  max_seconds: secondsInText.optional(),
  q: textSought.optional().describe('Text in the name of the file or of the lead.'),
  sort: z.enum(SORTS).default('newest').describe('`newest` where it is left out.'),
  limit: limitSchema,
  cursor: cursorSchema.optional(),
})

/** The name that an order has in a cursor. */
const orderOf = (sort: Sort) => (sort === 'newest' ? '' : sort)

export interface RecordingsPage {
  rows: ShownRecording[]
  nextCursor: string | null
}

/** @throws ServiceError `too_broad` where an order needs fewer recordings than are asked for */
export async function recordingsFor(
  db: Reading,
  caller: Caller,
  query: z.output<typeof recordingsQuery>,
): Promise<RecordingsPage> {
  const { sort, limit, cursor } = query
  const asked: RecordingsAsked = {
    ownerId: ownerOf(caller),
    telecallerId: query.telecaller_id,
    leadId: query.lead_id,
    callLogId: query.call_log_id,
    sha256: query.sha256,
    sinceMs: query.since,
    untilMs: query.until,
    callSinceMs: query.call_since,
    callUntilMs: query.call_until,
    direction: query.direction,
    minSeconds: query.min_seconds,
    maxSeconds: query.max_seconds,
    text: query.q,
  }
  const after = placeIn(cursor, orderOf(sort), sort !== 'longest')
  const page = await recordingsPage(db, asked, sort, { after, limit })
  if (!page) {
    throw new ServiceError(
      'too_broad',
      `To sort by ${sort}, no more than ${MOST_SORTED} recordings may be meant: say since and until, lead_id or telecaller_id.`,
    )
  }
  return { rows: page.rows, nextCursor: page.next ? cursorOf(orderOf(sort), page.next) : null }
}

export const statisticsQuery = z.strictObject({
  since: timeInText.optional().describe('Recordings stored, and calls begun, then or later.'),
  until: timeInText.optional().describe('The same, before.'),
  group_by: z.enum(GROUPINGS).default('day').describe('`day` where it is left out.'),
})

const groupAnswer = z.object({
  key: z.string().describe('A telecaller, a lead, or a day (UTC).'),
  recordings: z.int().min(0),
  seconds: z.number().min(0),
  bytes: z.int().min(0),
  calls: z.int().min(0),
  calls_without_recording: z.int().min(0),
})
export const statisticsAnswer = z.object({ groups: z.array(groupAnswer) }).meta({ id: 'Statistics' })

const DAY_MS = 86_400_000

const groupJson = (figures: Figures): z.output<typeof groupAnswer> => ({
  key: typeof figures.key === 'number' ? new Date(figures.key * DAY_MS).toISOString().slice(0, 10) : figures.key,
  recordings: figures.recordings,
  seconds: Math.round(figures.seconds * 1_000) / 1_000,
  bytes: figures.bytes,
  calls: figures.calls,
  calls_without_recording: figures.callsWithoutRecording,
})

/** @throws ServiceError `too_broad` where the period has more than are counted */
export async function statisticsFor(
  db: Reading,
  caller: Caller,
  { since, until, group_by }: z.output<typeof statisticsQuery>,
): Promise<z.output<typeof statisticsAnswer>> {
  const figures = await statisticsOf(db, {
    ownerId: ownerOf(caller),
    sinceMs: since,
    untilMs: until,
    grouping: group_by,
  })
  if (!figures) {
    throw new ServiceError(
      'too_broad',
      `The period has more than ${MOST_COUNTED} recordings or calls: say a shorter one by since and until.`,
    )
  }
  return { groups: figures.map(groupJson) }
}

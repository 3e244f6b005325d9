/** What the parts of a move share: both ends, and what has come of it so far. */
import { isDeepStrictEqual } from 'node:util'
import { callLogCopied, callLogsAmong, leadCopied, leadsAmong } from '../db/copying.ts'
import type { Database, Statement } from '../db/database.ts'
import type { Source, Target } from './homes.ts'
import type { Progress } from './progress.ts'

/** Rows looked at, and those that were written, or would be. */
interface Count {
  seen: number
  written: number
}

export interface Tally {
  leads: Count
  calls: Count
  recordings: Count & { bytes: number; writtenBytes: number }
  uploads: Count & { open: number }
  /** Deleted at the source, and so at the target. */
  deleted: number
  /** At the target alone, for a reason that is not known. */
  others: number
  /** What could not be carried over, a sentence each. */
  faults: string[]
}

export const newTally = (): Tally => ({
  leads: { seen: 0, written: 0 },
  calls: { seen: 0, written: 0 },
  recordings: { seen: 0, written: 0, bytes: 0, writtenBytes: 0 },
  uploads: { seen: 0, written: 0, open: 0 },
  deleted: 0,
  others: 0,
  faults: [],
})

export interface Move {
  source: Source
  target: Target
  /** Writes into the target; undefined: it is only looked at. */
  write: Database['write'] | undefined
  /** What only the target has, goes. */
  removesOthers: boolean
  tally: Tally
  progress: Progress
}

export const isSame = (one: object, other: object | undefined): boolean =>
  other !== undefined && isDeepStrictEqual({ ...one }, { ...other })

export const byId = <Row extends { id: string }>(rows: readonly Row[]): Map<string, Row> =>
  new Map(rows.map((row) => [row.id, row]))

/** A lead and a call ahead of a row that is of them: on a running server they may be as new as the row. */
export async function named(
  { source }: Pick<Move, 'source'>,
  { leadId, callLogId }: { leadId: string; callLogId: string | null },
): Promise<Statement[]> {
  const leads = await leadsAmong(source.db, [leadId])
  const calls = callLogId === null ? [] : await callLogsAmong(source.db, [callLogId])
  return [...leads.map(leadCopied), ...calls.map(callLogCopied)]
}

export const readable = (error: unknown) => (error as NodeJS.ErrnoException).code ?? (error as Error).message

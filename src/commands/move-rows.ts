/** The part of a move that is rows alone: leads, their calls, and what deleted recordings have left. */
import {
  callLogCopied,
  callLogsAfter,
  callLogsAmong,
  leadCopied,
  leadsAfter,
  leadsAmong,
  tombstoneCopied,
} from '../db/copying.ts'
import type { Reading, Statement } from '../db/database.ts'
import { tombstonesAfter } from '../db/tombstones.ts'
import { pages, STEP } from '../uploads/sweep-steps.ts'
import { byId, isSame, type Move } from './both-ends.ts'

interface Kind<Row> {
  what: 'lead' | 'call'
  after: (db: Reading, after: string, limit: number) => Promise<Row[]> | Row[]
  among: (db: Reading, ids: readonly string[]) => Promise<Row[]> | Row[]
  copied: (row: Row) => Statement
}

export async function moveLeads(move: Move): Promise<void> {
  await moveKind(move, { what: 'lead', after: leadsAfter, among: leadsAmong, copied: leadCopied })
  await moveKind(move, { what: 'call', after: callLogsAfter, among: callLogsAmong, copied: callLogCopied })
}

async function moveKind<Row extends { id: string; updatedAtMs: number }>(
  { source, target, write, tally }: Move,
  { what, after, among, copied }: Kind<Row>,
): Promise<void> {
  const count = what === 'lead' ? tally.leads : tally.calls
  for (let last = ''; ; ) {
    const rows = await after(source.db, last, STEP)
    const end = rows.at(-1)
    if (!end) return
    last = end.id
    const there = byId(
      await among(
        target.db,
        rows.map(({ id }) => id),
      ),
    )
    const changed = rows.filter((row) => !isSame(row, there.get(row.id)))
    const isAhead = (row: Row) => (there.get(row.id)?.updatedAtMs ?? 0) > row.updatedAtMs
    for (const { id } of changed.filter(isAhead)) tally.faults.push(`${what} ${id}: it was changed there since`)
    const written = changed.filter((row) => !isAhead(row))
    count.seen += rows.length
    count.written += written.length
    if (written.length > 0) await write?.(...written.map(copied))
  }
}

export async function moveTombstones({ source, write }: Move): Promise<void> {
  const paths = pages((after) => tombstonesAfter(source.db, after, STEP))
  for await (const { id } of paths) await write?.(tombstoneCopied(id))
}

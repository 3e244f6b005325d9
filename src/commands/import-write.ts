/**
 * Some rows of an import, written in one transaction by the statements of the HTTP routes. What is the same already is not
 * written again, so that an import that is repeated, or goes on, changes nothing that it has done.
 */
import type { Statement } from '../db/database.ts'
import type { CallLog, Lead } from '../db/schema.ts'
import { isRefusal, ServiceError } from '../errors.ts'
import { callIsOfAnother, callLogValues, callLogWritten, leadValues, leadWritten } from '../leads/writes.ts'
import type { BadRow, CrmRow } from './crm-rows.ts'
import type { ImportTarget, Known } from './import-target.ts'

interface Counts {
  created: number
  changed: number
  unchanged: number
}

export interface Written {
  leads: Counts
  calls: Counts
  bad: BadRow[]
}

const noCounts = (): Counts => ({ created: 0, changed: 0, unchanged: 0 })
export const nothing = (): Written => ({ leads: noCounts(), calls: noCounts(), bad: [] })

/** What a batch comes to. */
interface Plan {
  known: Known
  statements: Statement[]
  /** Rows as they are then. */
  after: Known
  outcome: Written
}

/** A row with what is said of it; what is left out stays. */
function changed<Row extends object>(
  row: Row,
  values: { [Name in keyof Row]?: Row[Name] | undefined },
): Row | undefined {
  const said = Object.entries(values).filter(([, value]) => value !== undefined)
  const isSame = said.every(([name, value]) => row[name as keyof Row] === value)
  return isSame ? undefined : { ...row, ...Object.fromEntries(said) }
}

const ignore = () => {}

function planLead({ known, statements, after, outcome }: Plan, { id, body }: NonNullable<CrmRow['lead']>, now: number) {
  const before = known.leads.get(id)
  const blank: Lead = { id, telecallerId: '', name: null, createdAtMs: now, updatedAtMs: now }
  const row = changed(before ?? blank, leadValues(body))
  outcome.leads[before === undefined ? 'created' : row === undefined ? 'unchanged' : 'changed'] += 1
  if (row === undefined) return
  known.leads.set(id, row)
  after.leads.set(id, { ...row, updatedAtMs: now })
  statements.push(...leadWritten(id, body, now, ignore))
}

function planCall(plan: Plan, { id, leadId, body }: NonNullable<CrmRow['call']>, now: number) {
  const { known, statements, after, outcome } = plan
  const lead = known.leads.get(leadId) as Lead
  const before = known.calls.get(id)
  const blank: CallLog = {
    id,
    leadId,
    startedAtMs: null,
    durationSeconds: null,
    direction: null,
    createdAtMs: now,
    updatedAtMs: now,
  }
  const row = changed(before ?? blank, callLogValues(body))
  outcome.calls[before === undefined ? 'created' : row === undefined ? 'unchanged' : 'changed'] += 1
  if (before !== undefined && row === undefined) return
  known.calls.set(id, row ?? blank)
  after.leads.set(leadId, after.leads.get(leadId) ?? lead)
  after.calls.set(id, { ...(row ?? blank), updatedAtMs: now })
  statements.push(...callLogWritten({ id, leadId }, body, now, ignore))
}

/** Why the row can't be written as things stand; undefined when it can. */
function objectionTo({ lead, call }: CrmRow, { leads, calls }: Known): string | undefined {
  if (call === undefined) return undefined
  if (lead === undefined && !leads.has(call.leadId)) return 'There is no such lead.'
  const before = calls.get(call.id)
  return before !== undefined && before.leadId !== call.leadId ? callIsOfAnother().message : undefined
}

async function planOf(target: ImportTarget, rows: readonly CrmRow[]): Promise<Plan> {
  const leadIds = new Set(rows.map(({ lead, call }) => lead?.id ?? (call?.leadId as string)))
  const callIds = new Set(rows.flatMap(({ call }) => (call ? [call.id] : [])))
  const known = await target.known([...leadIds], [...callIds])
  const plan: Plan = { known, statements: [], after: { leads: new Map(), calls: new Map() }, outcome: nothing() }
  const now = target.clock.now()
  for (const row of rows) {
    const reason = objectionTo(row, known)
    if (reason !== undefined) {
      plan.outcome.bad.push({ line: row.line, reason })
      continue
    }
    if (row.lead) planLead(plan, row.lead, now)
    if (row.call) planCall(plan, row.call, now)
  }
  return plan
}

export function addWritten(to: Written, { leads, calls, bad }: Written): void {
  for (const name of ['created', 'changed', 'unchanged'] as const) {
    to.leads[name] += leads[name]
    to.calls[name] += calls[name]
  }
  to.bad.push(...bad)
}

/**
 * In one transaction, or row by row where the tables have been changed since they were looked at.
 *
 * @param stopsAtBad rows behind one that can't be written are not, either
 */
export async function writeRows(target: ImportTarget, rows: readonly CrmRow[], stopsAtBad: boolean): Promise<Written> {
  const { statements, after, outcome } = await planOf(target, rows)
  const [firstBad] = outcome.bad
  if (stopsAtBad && firstBad) {
    const ahead = rows.filter(({ line }) => line < firstBad.line)
    const written = await writeRows(target, ahead, true)
    return written.bad.length > 0 ? written : { ...written, bad: [firstBad] }
  }
  try {
    if (statements.length > 0) await target.write(statements, after)
    return outcome
  } catch (error) {
    if (!(error instanceof ServiceError && isRefusal(error))) throw error
    const [row, ...more] = rows
    if (row && more.length === 0) return { ...nothing(), bad: [{ line: row.line, reason: error.message }] }
  }
  const each = nothing()
  for (const row of rows) {
    addWritten(each, await writeRows(target, [row], stopsAtBad))
    if (stopsAtBad && each.bad.length > 0) break
  }
  return each
}

/** `call-recordings list WHAT`: what the tables have, a page for people, or all that is asked for as JSON. Only reads. */
import type { Config } from '../config/config.ts'
import type { Reading } from '../db/database.ts'
import { callLogsListed, type Listing, leadsListed, openUploadsListed, recordingsListed } from '../db/listed.ts'
import { assertTables, openTables } from './existing.ts'
import type { Fields, Output } from './output.ts'
import { inUnits } from './progress.ts'
import { table } from './table.ts'

export interface ListOptions {
  what: 'leads' | 'calls' | 'recordings' | 'uploads'
  lead?: string | undefined
  limit: number
  /** The id of the last one that was seen. */
  after?: string | undefined
}

/** A row, as a program reads it and as a line of the table. */
interface Listed {
  id: string
  fields: Fields
  cells: string[]
}

interface Kind {
  type: string
  heads: string[]
  page(db: Reading, listing: Listing): Promise<Listed[]>
}

const at = (ms: number) => new Date(ms).toISOString()
const atOrNull = (ms: number | null) => (ms === null ? null : at(ms))
const shown = (value: string | number | null) => (value === null ? '–' : String(value))
const seconds = (value: number | null) => (value === null ? '–' : `${value.toFixed(1)} s`)

const LEADS: Kind = {
  type: 'lead',
  heads: ['LEAD', 'TELECALLER', 'NAME', 'UPDATED'],
  async page(db, listing) {
    const rows = await leadsListed(db, listing)
    return rows.map(({ id, telecallerId, name, createdAtMs, updatedAtMs }) => ({
      id,
      fields: { id, telecaller_id: telecallerId, name, created_at: at(createdAtMs), updated_at: at(updatedAtMs) },
      cells: [id, telecallerId, shown(name), at(updatedAtMs)],
    }))
  },
}

const CALLS: Kind = {
  type: 'call_log',
  heads: ['CALL', 'LEAD', 'STARTED', 'DURATION', 'DIRECTION'],
  async page(db, listing) {
    const rows = await callLogsListed(db, listing)
    return rows.map(({ id, leadId, startedAtMs, durationSeconds, direction, createdAtMs, updatedAtMs }) => ({
      id,
      fields: {
        id,
        lead_id: leadId,
        started_at: atOrNull(startedAtMs),
        duration_seconds: durationSeconds,
        direction,
        created_at: at(createdAtMs),
        updated_at: at(updatedAtMs),
      },
      cells: [id, leadId, shown(atOrNull(startedAtMs)), seconds(durationSeconds), shown(direction)],
    }))
  },
}

const RECORDINGS: Kind = {
  type: 'recording',
  heads: ['RECORDING', 'LEAD', 'CALL', 'SIZE', 'DURATION', 'CREATED', 'FILE NAME'],
  async page(db, listing) {
    const rows = await recordingsListed(db, listing)
    return rows.map((row) => ({
      id: row.id,
      fields: {
        id: row.id,
        lead_id: row.leadId,
        call_log_id: row.callLogId,
        telecaller_id: row.telecallerId,
        filename: row.filename,
        path: row.path,
        content_type: row.contentType,
        size: row.size,
        sha256: row.sha256,
        duration_seconds: row.durationSeconds,
        created_at: at(row.createdAtMs),
      },
      cells: [
        row.id,
        row.leadId,
        row.callLogId,
        inUnits(row.size),
        seconds(row.durationSeconds),
        at(row.createdAtMs),
        row.filename,
      ],
    }))
  },
}

const UPLOADS: Kind = {
  type: 'upload',
  heads: ['UPLOAD', 'DOOR', 'LEAD', 'CALL', 'CAME', 'OF', 'LAST BYTE', 'FILE NAME'],
  async page(db, listing) {
    const rows = await openUploadsListed(db, listing)
    return rows.map((row) => ({
      id: row.id,
      fields: {
        id: row.id,
        door: row.door,
        lead_id: row.leadId,
        call_log_id: row.callLogId,
        caller_id: row.callerId,
        filename: row.filename,
        offset: row.offset,
        length: row.length,
        created_at: at(row.createdAtMs),
        last_byte_at: at(row.lastByteAtMs),
      },
      cells: [
        row.id,
        row.door,
        row.leadId,
        shown(row.callLogId),
        inUnits(row.offset),
        row.length === null ? '–' : inUnits(row.length),
        at(row.lastByteAtMs),
        shown(row.filename),
      ],
    }))
  },
}

const KINDS: Readonly<Record<ListOptions['what'], Kind>> = {
  leads: LEADS,
  calls: CALLS,
  recordings: RECORDINGS,
  uploads: UPLOADS,
}

/** @returns the exit code */
export async function list(config: Config, options: ListOptions, output: Output): Promise<number> {
  const { what, lead, limit, after = '' } = options
  const { type, heads, page } = KINDS[what]
  const db = await openTables(config)
  try {
    await assertTables(config, db)
    const found = await page(db, { leadId: lead, after, limit: limit + 1 })
    const rows = found.slice(0, limit)
    const last = found.length > limit ? rows.at(-1)?.id : undefined
    const [head = '', ...lines] = table(
      heads,
      rows.map(({ cells }) => cells),
    )
    if (rows.length > 0) output.say(head)
    for (const [i, { fields }] of rows.entries()) output.tell({ type, ...fields }, lines[i] as string)
    output.sum({ count: rows.length, next_after: last ?? null })
    if (rows.length === 0) output.say(`no ${what}${lead === undefined ? '' : ` of ${lead}`}`)
    if (last !== undefined) output.say(`there are more: --after ${last}`)
    return 0
  } finally {
    await db.close()
  }
}

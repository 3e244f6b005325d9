/**
 * A caller's open uploads with a lead, through all doors. An app goes on with them, or cleans up.
 *
 * The address is the tus door's; a GET there is answered with JSON.
 */
import type { Request, RequestHandler } from 'express'
import { z } from 'zod'
import { callerOf } from '../auth/required.ts'
import type { Clock } from '../clock.ts'
import type { Config } from '../config/config.ts'
import type { Database } from '../db/database.ts'
import { openUploadsOfLead } from '../db/uploads.ts'
import { addressOf } from '../http/request.ts'
import { leadFor } from '../leads/rights.ts'
import type { Ingest } from '../uploads/ingest.ts'
import type { Row } from '../uploads/ownership.ts'
import { isWhole } from '../uploads/upload.ts'

interface Parts {
  config: Config
  db: Database
  ingest: Ingest
  clock: Clock
}

/** An open upload as clients see it. */
const uploadAnswer = z
  .object({
    id: z.string(),
    door: z.enum(['tus', 'legacy', 'simple']).describe('The way that it comes by: tus, chunk actions, a form.'),
    filename: z.string().nullable(),
    call_log_id: z.string().nullable().describe('Null until it is named.'),
    offset: z.int().min(0).describe('Bytes; 0 for one that is whole and waits to be stored.'),
    length: z.int().min(0).nullable().describe('Bytes; null until it is told.'),
    created_at: z.iso.datetime(),
    expires_at: z.iso.datetime(),
    url: z.string().describe('Its address at the tus door.'),
  })
  .meta({ id: 'OpenUpload' })

export const openUploadsAnswer = z.object({ uploads: z.array(uploadAnswer) }).meta({ id: 'OpenUploads' })

/** What answers GET at the address where uploads are created; no router, since that would answer OPTIONS too. */
export function openUploads({ config, db, ingest, clock }: Parts): RequestHandler<{ leadId: string }> {
  const uploadJson = (row: Row, req: Request): z.infer<typeof uploadAnswer> => ({
    id: row.id,
    door: row.door,
    filename: row.filename,
    call_log_id: row.callLogId,
    // As everywhere, its full length is not shown before its recording is there.
    offset: isWhole(row) ? 0 : row.offset,
    length: row.length,
    created_at: new Date(row.createdAtMs).toISOString(),
    expires_at: new Date(ingest.expiresAtMs(row)).toISOString(),
    url: addressOf(req, config.publicUrl, `/api/leads/${row.leadId}/uploads/${row.id}`),
  })

  return async (req, res) => {
    const caller = callerOf(res)
    const lead = await leadFor(db, caller, req.params.leadId, 'use')
    const rows = await openUploadsOfLead(db, lead.id, caller.role === 'service' ? undefined : caller.id)
    const unexpired = rows.filter((row) => isWhole(row) || ingest.expiresAtMs(row) >= clock.now())
    const open = await Promise.all(unexpired.map(ingest.shown))
    const answer: z.infer<typeof openUploadsAnswer> = { uploads: open.map((row) => uploadJson(row, req as Request)) }
    res.set('Cache-Control', 'no-store').json(answer)
  }
}

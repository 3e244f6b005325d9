/**
 * Recordings of a lead: listed newest first, told in detail, deleted.
 */
import { type Request, Router } from 'express'
import { z } from 'zod'
import { callerOf } from '../auth/required.ts'
import type { Config } from '../config/config.ts'
import type { Database, Reading } from '../db/database.ts'
import { recordingById, recordingsOfLead } from '../db/recordings.ts'
import type { Recording } from '../db/schema.ts'
import type { Events } from '../events.ts'
import { wholeNumberInText } from '../http/plain-words.ts'
import { addressOf, queryOf, takesNoQuery } from '../http/request.ts'
import { ID_PATTERN, isId } from '../ids.ts'
import { leadFor } from '../leads/rights.ts'
import { typeMostlyPlays } from '../media/codecs.ts'
import type { Library } from '../storage/library.ts'
import { deleteRecording, recordingNotFound } from './deletion.ts'

const DEFAULT_LIMIT = 50
const MAX_LIMIT = 200

export const recordingPath = (leadId: string, recordingId: string) => `/api/leads/${leadId}/recordings/${recordingId}`

/** A recording as clients see it. */
export const recordingAnswer = z
  .object({
    id: z.string(),
    lead_id: z.string(),
    call_log_id: z.string(),
    telecaller_id: z.string().describe('Who had the lead when it was stored.'),
    filename: z.string().describe('As the client named it.'),
    path: z.string().describe('Where it lies in the recordings directory. To play it, take `url`.'),
    content_type: z.string(),
    size: z.int().min(0).describe('Bytes.'),
    sha256: z.string().regex(/^[0-9a-f]{64}$/),
    duration_seconds: z.number().nullable().describe('Null where it could not be told.'),
    media_check: z.enum(['ok', 'unrecognised']).describe('`unrecognised`: no sound track was found.'),
    plays_in_browsers: z.boolean(),
    created_at: z.iso.datetime(),
    url: z.string().describe('Where it plays.'),
  })
  .meta({ id: 'Recording' })

export const recordingsAnswer = z
  .object({
    recordings: z.array(recordingAnswer),
    next_cursor: z.string().nullable().describe('Of the next page; null on the last one.'),
  })
  .meta({ id: 'Recordings' })

export const recordingJson = (
  recording: Recording,
  req: Request,
  publicUrl: URL | undefined,
): z.infer<typeof recordingAnswer> => ({
  id: recording.id,
  lead_id: recording.leadId,
  call_log_id: recording.callLogId,
  telecaller_id: recording.telecallerId,
  filename: recording.filename,
  path: recording.path,
  content_type: recording.contentType,
  size: recording.size,
  sha256: recording.sha256,
  duration_seconds: recording.durationSeconds,
  media_check: recording.mediaCheck,
  plays_in_browsers:
    recording.playsInBrowsers ?? (recording.mediaCheck === 'ok' && typeMostlyPlays(recording.contentType)),
  created_at: new Date(recording.createdAtMs).toISOString(),
  url: addressOf(req, publicUrl, recordingPath(recording.leadId, recording.id)),
})

/** A cursor is the last recording seen: its time and its id. */
const cursorOf = (recording: Recording) => Buffer.from(`${recording.createdAtMs} ${recording.id}`).toString('base64url')

const cursorSchema = z.string().transform((text, context) => {
  const [, ms, id] = /^(\d{1,16}) ([A-Za-z0-9_-]{1,64})$/.exec(Buffer.from(text, 'base64url').toString('latin1')) ?? []
  if (ms === undefined || id === undefined) {
    context.addIssue({ code: 'custom', message: 'is not one that this list gave' })
    return z.NEVER
  }
  return { createdAtMs: Number(ms), id }
})

export const listQuery = z.strictObject({
  limit: wholeNumberInText(1, MAX_LIMIT).default(DEFAULT_LIMIT).describe(`${DEFAULT_LIMIT} where it is left out.`),
  cursor: cursorSchema.optional().describe('The `next_cursor` of the page before.'),
  call_log_id: z.string().regex(ID_PATTERN, 'must be 1 to 64 characters of A-Z a-z 0-9 _ -').optional(),
})

/** The recording, if it is one of this lead's. @throws ServiceError `recording_not_found` otherwise */
export async function recordingOf(db: Reading, leadId: string, recordingId: string): Promise<Recording> {
  const recording = isId(recordingId) ? await recordingById(db, recordingId) : undefined
  if (!recording || recording.leadId !== leadId) {
    throw recordingNotFound()
  }
  return recording
}

interface Parts {
  config: Config
  db: Database
  library: Library
  events: Events
  /** Called at each named step. */
  step: (name: string) => void
}

export function recordingRoutes({ config, db, library, events, step }: Parts): Router {
  const router = Router({ mergeParams: true })

  router.get<{ leadId: string }>('/', async (req, res) => {
    const lead = await leadFor(db, callerOf(res), req.params.leadId, 'use')
    const { limit, cursor, call_log_id } = queryOf(listQuery, req)
    const rows = await recordingsOfLead(db, lead.id, { callLogId: call_log_id, after: cursor, limit: limit + 1 })
    const page = rows.slice(0, limit)
    const last = page.at(-1)
    const answer: z.infer<typeof recordingsAnswer> = {
      recordings: page.map((recording) => recordingJson(recording, req, config.publicUrl)),
      next_cursor: rows.length > limit && last ? cursorOf(last) : null,
    }
    res.json(answer)
  })

  router.get<{ leadId: string; recordingId: string }>('/:recordingId/details', takesNoQuery, async (req, res) => {
    const lead = await leadFor(db, callerOf(res), req.params.leadId, 'use')
    res.json(recordingJson(await recordingOf(db, lead.id, req.params.recordingId), req, config.publicUrl))
  })

  router.delete<{ leadId: string; recordingId: string }>('/:recordingId', takesNoQuery, async (req, res) => {
    const caller = callerOf(res)
    const lead = await leadFor(db, caller, req.params.leadId, 'use')
    const recording = await recordingOf(db, lead.id, req.params.recordingId)
    await deleteRecording({ db, library, step }, caller, recording)
    events.recordingDeleted({ recordingId: recording.id, leadId: lead.id, callerId: caller.id })
    res.status(204).end()
  })

  return router
}

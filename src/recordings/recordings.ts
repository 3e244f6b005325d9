/**
 * Recordings of a lead: listed newest first, told in detail, deleted.
 */
import { type Request, Router } from 'express'
import { z } from 'zod'
import { callerOf } from '../auth/required.ts'
import type { Config } from '../config/config.ts'
import type { Database, Reading } from '../db/database.ts'
import { type ShownRecording, shownById } from '../db/recordings-shown.ts'
import type { Events } from '../events.ts'
import { nextCursorAnswer } from '../http/paging.ts'
import { addressOf, queryOf, takesNoQuery } from '../http/request.ts'
import { isId } from '../ids.ts'
import { leadFor } from '../leads/rights.ts'
import { typeMostlyPlays } from '../media/codecs.ts'
import type { Library } from '../storage/library.ts'
import { type RecordingsPage, recordingsFor, recordingsQuery } from './asking.ts'
import { deleteRecording, recordingNotFound } from './deletion.ts'

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
    call: z
      .object({
        started_at: z.iso.datetime().nullable(),
        duration_seconds: z.number().nullable(),
        direction: z.enum(['inbound', 'outbound']).nullable(),
      })
      .describe('As the CRM has told of it.'),
    lead_name: z.string().nullable(),
  })
  .meta({ id: 'Recording' })

export const recordingsAnswer = z
  .object({
    recordings: z.array(recordingAnswer),
    next_cursor: nextCursorAnswer,
  })
  .meta({ id: 'Recordings' })

export const recordingJson = (
  recording: ShownRecording,
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
  call: {
    started_at: recording.callStartedAtMs === null ? null : new Date(recording.callStartedAtMs).toISOString(),
    duration_seconds: recording.callDurationSeconds,
    direction: recording.callDirection,
  },
  lead_name: recording.leadName,
})

export const pageJson = (
  { rows, nextCursor }: RecordingsPage,
  req: Request,
  publicUrl: URL | undefined,
): z.infer<typeof recordingsAnswer> => ({
  recordings: rows.map((recording) => recordingJson(recording, req, publicUrl)),
  next_cursor: nextCursor,
})

/** Of one lead, the newest first. */
export const listQuery = recordingsQuery.pick({ limit: true, cursor: true, call_log_id: true })

/** The recording, if it is one of this lead's. @throws ServiceError `recording_not_found` otherwise */
export async function recordingOf(db: Reading, leadId: string, recordingId: string): Promise<ShownRecording> {
  const recording = isId(recordingId) ? await shownById(db, recordingId) : undefined
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
    const asked = { ...queryOf(listQuery, req), lead_id: lead.id, sort: 'newest' } as const
    res.json(pageJson(await recordingsFor(db, callerOf(res), asked), req, config.publicUrl))
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

/** The routes of recordings, but for playback, as the contract describes them. */
import { z } from 'zod'
import { json, leadId, type Paths, recordingId, refusals, SHORT_PAGES } from '../http/contract.ts'
import { recordingsQuery, statisticsAnswer, statisticsQuery } from './asking.ts'
import { listQuery, recordingAnswer, recordingsAnswer } from './recordings.ts'

const path = z.object({ lead_id: leadId, recording_id: recordingId })

export const recordingPaths: Paths = {
  '/api/recordings': {
    get: {
      operationId: 'askRecordings',
      tags: ['recordings'],
      summary: 'Recordings across leads, the newest first; of a telecaller, those of their own leads',
      description: SHORT_PAGES,
      requestParams: { query: recordingsQuery },
      responses: { 200: json('A page of them.', recordingsAnswer), ...refusals('invalid_parameter', 'too_broad') },
    },
  },
  '/api/statistics': {
    get: {
      operationId: 'statistics',
      tags: ['recordings'],
      summary: 'Figures of a period, by telecaller, day or lead; of a telecaller, those of their own leads',
      requestParams: { query: statisticsQuery },
      responses: { 200: json('The figures.', statisticsAnswer), ...refusals('invalid_parameter', 'too_broad') },
    },
  },
  '/api/leads/{lead_id}/recordings': {
    get: {
      operationId: 'listRecordings',
      tags: ['recordings'],
      summary: 'The recordings of a lead, newest first',
      requestParams: { path: z.object({ lead_id: leadId }), query: listQuery },
      responses: {
        200: json('A page of them.', recordingsAnswer),
        ...refusals('invalid_parameter', 'not_your_lead', 'lead_not_found'),
      },
    },
  },
  '/api/leads/{lead_id}/recordings/{recording_id}/details': {
    get: {
      operationId: 'recordingDetails',
      tags: ['recordings'],
      summary: 'A recording as JSON',
      requestParams: { path },
      responses: {
        200: json('The recording.', recordingAnswer),
        ...refusals('not_your_lead', 'lead_not_found', 'recording_not_found'),
      },
    },
  },
  '/api/leads/{lead_id}/recordings/{recording_id}': {
    delete: {
      operationId: 'deleteRecording',
      tags: ['recordings'],
      summary: 'Ends a recording: its bytes and its row are gone',
      requestParams: { path },
      responses: {
        204: { description: 'It is gone.' },
        ...refusals('not_your_lead', 'lead_not_found', 'recording_not_found'),
      },
    },
  },
}

/** The routes of leads and call logs, as the contract describes them. */
import { z } from 'zod'
import { callLogId, json, jsonBody, leadId, type Paths, refusals } from '../http/contract.ts'
import { callLogAnswer, leadAnswer } from './routes.ts'
import { callLogBody, leadBody } from './writes.ts'

const LEFT_OUT = 'What is left out stays as it is, and null clears it. For the role `service` alone.'

const REFUSED = ['invalid_parameter', 'missing_parameter', 'forbidden', 'too_large', 'unsupported_media_type'] as const

export const leadPaths: Paths = {
  '/api/leads/{lead_id}': {
    put: {
      operationId: 'writeLead',
      tags: ['leads'],
      summary: 'The CRM writes a lead',
      description: LEFT_OUT,
      requestParams: { path: z.object({ lead_id: leadId }) },
      requestBody: jsonBody(leadBody),
      responses: {
        200: json('The lead was there, and is changed.', leadAnswer),
        201: json('The lead is new.', leadAnswer),
        ...refusals(...REFUSED),
      },
    },
  },
  '/api/leads/{lead_id}/call-logs/{call_log_id}': {
    put: {
      operationId: 'writeCallLog',
      tags: ['leads'],
      summary: 'The CRM writes a call',
      description: LEFT_OUT,
      requestParams: { path: z.object({ lead_id: leadId, call_log_id: callLogId }) },
      requestBody: jsonBody(callLogBody, { required: false }),
      responses: {
        200: json('The call was there, and is changed.', callLogAnswer),
        201: json('The call is new.', callLogAnswer),
        ...refusals(...REFUSED, 'lead_not_found', 'conflict'),
      },
    },
  },
}

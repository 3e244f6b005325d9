/** The routes of leads and call logs, as the contract describes them. */
import { z } from 'zod'
import { callLogId, json, jsonBody, leadId, type Paths, refusals, SHORT_PAGES } from '../http/contract.ts'
import { callLogsQuery, leadsQuery } from './lists.ts'
import {
  callLogAnswer,
  callLogsAnswer,
  countedLeadAnswer,
  leadAnswer,
  leadsAnswer,
  recordedCallAnswer,
} from './routes.ts'
import { callLogBody, leadBody } from './writes.ts'

const LEFT_OUT = 'What is left out stays as it is, and null clears it. For the role `service` alone.'

const REFUSED = ['invalid_parameter', 'missing_parameter', 'forbidden', 'too_large', 'unsupported_media_type'] as const

const SEEN = ['not_your_lead', 'lead_not_found'] as const

export const leadPaths: Paths = {
  '/api/leads': {
    get: {
      operationId: 'listLeads',
      tags: ['leads'],
      summary: 'Leads, the newest first; of a telecaller, their own',
      description: `With \`updated_since\` in the order of their changes, the oldest first. ${SHORT_PAGES}`,
      requestParams: { query: leadsQuery },
      responses: { 200: json('A page of them.', leadsAnswer), ...refusals('invalid_parameter') },
    },
  },
  '/api/leads/{lead_id}': {
    get: {
      operationId: 'lead',
      tags: ['leads'],
      summary: 'A lead',
      requestParams: { path: z.object({ lead_id: leadId }) },
      responses: { 200: json('The lead.', countedLeadAnswer), ...refusals(...SEEN) },
    },
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
  '/api/leads/{lead_id}/call-logs': {
    get: {
      operationId: 'listCallLogs',
      tags: ['leads'],
      summary: 'The calls with a lead, the newest first',
      description: SHORT_PAGES,
      requestParams: { path: z.object({ lead_id: leadId }), query: callLogsQuery },
      responses: { 200: json('A page of them.', callLogsAnswer), ...refusals('invalid_parameter', ...SEEN) },
    },
  },
  '/api/leads/{lead_id}/call-logs/{call_log_id}': {
    get: {
      operationId: 'callLog',
      tags: ['leads'],
      summary: 'A call with a lead',
      requestParams: { path: z.object({ lead_id: leadId, call_log_id: callLogId }) },
      responses: { 200: json('The call.', recordedCallAnswer), ...refusals(...SEEN, 'call_log_not_found') },
    },
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

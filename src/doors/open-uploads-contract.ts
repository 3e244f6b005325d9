/** The list of open uploads, as the contract describes it. */
import { z } from 'zod'
import { json, leadId, type Paths, refusals } from '../http/contract.ts'
import { openUploadsAnswer } from './open-uploads.ts'

export const openUploadsPaths: Paths = {
  '/api/leads/{lead_id}/uploads': {
    get: {
      operationId: 'listOpenUploads',
      tags: ['uploads'],
      summary: 'The caller’s open uploads with a lead, through all doors',
      description: 'The role `service` is shown everybody’s. Needs no `Tus-Resumable`.',
      requestParams: { path: z.object({ lead_id: leadId }) },
      responses: {
        200: json('All of them.', openUploadsAnswer),
        ...refusals('not_your_lead', 'lead_not_found'),
      },
    },
  },
}

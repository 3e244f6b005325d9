/** Who a token is of, as the contract describes it. */
import { json, type Paths, refusals } from '../http/contract.ts'
import { meAnswer } from './routes.ts'

export const mePaths: Paths = {
  '/api/me': {
    get: {
      operationId: 'me',
      tags: ['service'],
      summary: 'Who the token is of',
      responses: { 200: json('The caller.', meAnswer), ...refusals() },
    },
  },
}

/** `/metrics`, as the contract describes it. */
import { type Paths, refusalsToAnybody } from '../http/contract.ts'

export const metricsPaths: Paths = {
  '/metrics': {
    get: {
      operationId: 'metrics',
      tags: ['service'],
      security: [{}, { metricsToken: [] }],
      summary: 'Metrics in the text form of Prometheus',
      description:
        'Open outside production, or with the configured token. Else, and at another port, there is nothing here.',
      responses: {
        200: { description: 'All of them.', content: { 'text/plain': { schema: { type: 'string' } } } },
        ...refusalsToAnybody('unauthenticated', 'route_not_found'),
      },
    },
  },
}

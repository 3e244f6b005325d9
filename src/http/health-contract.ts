/** Liveness, readiness and the contract itself, as the contract describes them. */
import { z } from 'zod'
import { header, json, OPEN_TO_ALL, type Paths, refusalsToAnybody } from './contract.ts'
import { livenessAnswer } from './health.ts'
import { readinessAnswer } from './readiness.ts'

export const healthPaths: Paths = {
  '/livez': {
    get: {
      operationId: 'livez',
      tags: ['service'],
      security: OPEN_TO_ALL,
      summary: 'Whether the service lives',
      responses: { 200: json('It does.', livenessAnswer), ...refusalsToAnybody() },
    },
  },
  '/readyz': {
    get: {
      operationId: 'readyz',
      tags: ['service'],
      security: OPEN_TO_ALL,
      summary: 'Whether it can do its work',
      responses: {
        ...refusalsToAnybody(),
        200: json('It can.', readinessAnswer),
        503: json('It can’t; `reasons` says why.', readinessAnswer),
      },
    },
  },
  '/openapi.json': {
    get: {
      operationId: 'contract',
      tags: ['service'],
      security: OPEN_TO_ALL,
      summary: 'This contract',
      responses: {
        200: {
          description: 'OpenAPI 3.1.',
          headers: { ETag: header('Strong.') },
          content: { 'application/json': { schema: { type: 'object' } } },
        },
        304: { description: 'It is the one that the client has.' },
        ...refusalsToAnybody(),
      },
    },
  },
  '/docs': {
    get: {
      operationId: 'docs',
      tags: ['service'],
      security: OPEN_TO_ALL,
      summary: 'A page that shows this contract',
      responses: {
        200: { description: 'The page.', content: { 'text/html': { schema: { type: 'string' } } } },
        ...refusalsToAnybody(),
      },
    },
  },
  '/docs/{file}': {
    get: {
      operationId: 'docsFile',
      tags: ['service'],
      security: OPEN_TO_ALL,
      summary: 'What that page loads',
      requestParams: {
        path: z.object({ file: z.enum(['open.js', 'swagger-ui-bundle.js', 'swagger-ui.css']) }),
      },
      responses: {
        200: {
          description: 'The file.',
          headers: { ETag: header('It changes with the file.') },
          content: { 'text/javascript': { schema: { type: 'string' } }, 'text/css': { schema: { type: 'string' } } },
        },
        304: { description: 'It is the one that the client has.' },
        ...refusalsToAnybody('route_not_found'),
      },
    },
  },
}

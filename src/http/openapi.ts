/**
 * The contract as OpenAPI 3.1, put together from what the rooms say of their operations. Requests are described by the
 * schemas that validate them, answers by the schemas that type them.
 */
import { createDocument } from 'zod-openapi'
import { mePaths } from '../auth/me-contract.ts'
import { openUploadsPaths } from '../doors/open-uploads-contract.ts'
import { recordingsPostPaths } from '../doors/recordings-post-contract.ts'
import { tusPaths } from '../doors/tus/tus-contract.ts'
import { leadPaths } from '../leads/leads-contract.ts'
import { metricsPaths } from '../metrics/metrics-contract.ts'
import { playbackPaths } from '../playback/playback-contract.ts'
import { VERSION } from '../process/version.ts'
import { recordingPaths } from '../recordings/recordings-contract.ts'
import type { Paths } from './contract.ts'
import { MEANING } from './error-meanings.ts'
import { healthPaths } from './health-contract.ts'
import { problemAnswer } from './problem.ts'

const ROOMS: readonly Paths[] = [
  mePaths,
  leadPaths,
  tusPaths,
  openUploadsPaths,
  recordingsPostPaths,
  recordingPaths,
  playbackPaths,
  healthPaths,
  metricsPaths,
]

const DESCRIPTION = [
  'Takes in the recordings of calls, keeps each exactly once, and plays them back.',
  'Every answer has an `X-Request-Id`, the one of the request where it brought one. Refusals are `application/problem+json` ' +
    '(RFC 9457); the tus door says the same as text. Act on `code`.',
].join('\n\n')

/** One path may be of several rooms, with a method each. */
function together(rooms: readonly Paths[]): Paths {
  const paths: Paths = {}
  for (const room of rooms) {
    for (const [path, item] of Object.entries(room)) paths[path] = { ...paths[path], ...item }
  }
  return paths
}

/** @param publicUrl where clients reach the service; undefined: where they have the contract from */
export const openApiDocument = (publicUrl: URL | undefined): object =>
  createDocument(
    {
      openapi: '3.1.1',
      info: { title: 'Call recordings', version: VERSION, description: DESCRIPTION },
      servers: [{ url: publicUrl?.href.replace(/\/$/, '') ?? '/' }],
      security: [{ login: [] }],
      tags: [
        { name: 'leads', description: 'What the CRM tells of its leads and calls.' },
        { name: 'tus', description: 'Resumable uploads (tus 1.0).' },
        { name: 'uploads', description: 'Uploads in chunks or in one form, and the list of open ones.' },
        { name: 'recordings', description: 'Recordings listed, told in detail, deleted.' },
        { name: 'playback', description: 'Their bytes, with ranges (RFC 9110), and links for players.' },
        { name: 'service', description: 'The service itself.' },
      ],
      paths: together(ROOMS),
      components: {
        securitySchemes: {
          login: {
            type: 'http',
            scheme: 'bearer',
            bearerFormat: 'JWT',
            description: '`sub` is the caller; `role` is `telecaller` (default), `supervisor` or `service`.',
          },
          metricsToken: { type: 'http', scheme: 'bearer', description: 'As the operator has set it.' },
          playbackLink: { type: 'apiKey', in: 'query', name: 'token', description: 'As a playback link has it.' },
        },
        schemas: {
          Problem: problemAnswer,
          ErrorCode: {
            description: 'Every code that there is, and what it means.',
            oneOf: Object.entries(MEANING).map(([code, description]) => ({ const: code, description })),
          },
        },
      },
    },
    { override: loosened },
  )

/** Answers may gain members. Of a time, the format says enough: its pattern has 300 characters. */
function loosened({ jsonSchema, io }: { jsonSchema: Record<string, unknown>; io: 'input' | 'output' }): void {
  if (io === 'output') delete jsonSchema.additionalProperties
  if (jsonSchema.format === 'date-time') delete jsonSchema.pattern
}

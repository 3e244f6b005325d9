/**
 * The tus door: tus 1.0 under `/api/leads/{lead_id}/uploads`.
 *
 * @tus/server answers HEAD and DELETE. What it leaves to others is here: who is asking and for which lead, what an upload
 * must promise before a byte is sent, the bytes themselves, errors in our words, and the finish. Knows HTTP; knows nothing
 * of disks.
 */
import { type ErrorRequestHandler, type RequestHandler, Router } from 'express'
import { required } from '../../auth/required.ts'
import type { Tokens } from '../../auth/tokens.ts'
import { ServiceError } from '../../errors.ts'
import { endAnswer } from '../../http/early-answers.ts'
import { methodNotAllowed } from '../../http/methods.ts'
import { headersOf, toldOf } from '../../http/problem.ts'
import { takesNoQuery } from '../../http/request.ts'
import { asText } from './answers.ts'
import { change } from './change.ts'
import { CHECKSUM_ALGORITHMS } from './checksum.ts'
import type { TusParts } from './context.ts'
import { create } from './create.ts'
import { createEngine } from './engine.ts'
import type { TusDoor } from './exchange.ts'
import { methodOf } from './headers.ts'
import { engineOptions } from './hooks.ts'

const TUS_VERSION = '1.0.0'
const EXTENSIONS = [
  'creation',
  'creation-with-upload',
  'creation-defer-length',
  'termination',
  'expiration',
  'checksum',
  'checksum-trailer',
  'concatenation',
]

interface Parts extends Omit<TusParts, 'creating'> {
  tokens: Tokens
}

/** A lead's uploads, or one of them, as the server itself writes their addresses. */
const ADDRESS = /^\/api\/leads\/([\w.-]+)\/uploads(?:\/([\w-]+))?$/

export function tusRoutes({ config, tokens, db, ingest, ownership, events }: Parts): {
  direct: RequestHandler
  router: Router
} {
  const parts: TusParts = { config, db, ingest, ownership, events, creating: new Map() }
  const door: TusDoor = { ...parts, engine: createEngine(engineOptions(parts, EXTENSIONS)) }
  return { direct: directly(door, tokens), router: routed(door, tokens) }
}

/**
 * Creations and PATCHes as nearly all of them come, matched once; of the routers, each pattern ahead of theirs costs them its
 * try. What is written in another way, or says more, goes through the routers and comes to the same.
 */
const directly =
  (door: TusDoor, tokens: Tokens): RequestHandler =>
  async (req, res, next) => {
    const { method, headers } = req
    if (method !== 'POST' && method !== 'PATCH') return next()
    if (headers['tus-resumable'] !== TUS_VERSION || headers['x-http-method-override'] !== undefined) return next()
    const [, leadId, uploadId] = ADDRESS.exec(req.url) ?? []
    if (leadId === undefined || (uploadId === undefined) !== (method === 'POST')) return next()
    res.setHeader('Tus-Resumable', TUS_VERSION)
    res.locals.caller = await tokens.authenticate(headers.authorization)
    if (uploadId === undefined) {
      req.params = { leadId }
      return create(door, { req, res })
    }
    req.params = { leadId, uploadId }
    return change(door, 'PATCH', { req, res })
  }

function routed(door: TusDoor, tokens: Tokens): Router {
  const { config } = door
  const router = Router({ mergeParams: true })

  // tus 1.0 § Tus-Resumable: in every answer; a request of another version is not processed.
  router.use((req, res, next) => {
    res.setHeader('Tus-Resumable', TUS_VERSION)
    if (req.method === 'OPTIONS' || req.headers['tus-resumable'] === TUS_VERSION) return next()
    throw new ServiceError(
      'unsupported_tus_version',
      `This server speaks tus ${TUS_VERSION}: send the header Tus-Resumable: ${TUS_VERSION}.`,
      {
        headers: { 'Tus-Version': TUS_VERSION },
      },
    )
  })

  router.options(['/', '/:uploadId'], (_req, res) => {
    res
      .status(204)
      .set({
        'Tus-Version': TUS_VERSION,
        'Tus-Extension': EXTENSIONS.join(','),
        'Tus-Max-Size': String(config.uploads.maxBytes),
        'Tus-Checksum-Algorithm': CHECKSUM_ALGORITHMS.join(','),
      })
      .end()
  })

  router.use(required(tokens), takesNoQuery)
  router.all('/', (req, res) => {
    if (methodOf(req.method, req.headers) !== 'POST') throw methodNotAllowed('GET, HEAD, POST, OPTIONS')
    return create(door, { req, res })
  })
  router.all('/:uploadId', (req, res) => {
    const method = methodOf(req.method, req.headers)
    if (method !== 'HEAD' && method !== 'PATCH' && method !== 'DELETE')
      throw methodNotAllowed('HEAD, PATCH, DELETE, OPTIONS')
    return change(door, method, { req, res })
  })

  return router
}

/** What the door refuses, in text; mounted behind it, for addresses too that no route could read. */
export const tusErrors: ErrorRequestHandler = async (error, req, res, _next) => {
  const told = toldOf(error)
  res.locals.error ??= told
  // What has been answered at a shutdown is on its way.
  if (res.writableEnded) return
  if (res.headersSent) return res.destroy()
  const text = asText(told)
  res
    .status(told.status)
    .set({ 'Tus-Resumable': TUS_VERSION, ...headersOf(told, req) })
    .set({ 'Content-Type': 'text/plain; charset=utf-8', 'Content-Length': String(Buffer.byteLength(text)) })
  await endAnswer(req, res, text)
}

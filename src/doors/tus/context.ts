/**
 * What the tus door works with: its parts, and what is settled about one request, hung at it for the library's hooks.
 */
import type { IncomingMessage } from 'node:http'
import type { Request, Response } from 'express'
import { callerOf } from '../../auth/required.ts'
import type { Config } from '../../config/config.ts'
import type { Database } from '../../db/database.ts'
import type { Lead, Recording } from '../../db/schema.ts'
import type { ServiceError } from '../../errors.ts'
import type { Events } from '../../events.ts'
import { type Caller, leadFor } from '../../leads/rights.ts'
import type { BodyCheck } from '../../storage/staging.ts'
import type { Ingest } from '../../uploads/ingest.ts'
import type { Ownership, Row } from '../../uploads/ownership.ts'
import type { EngineRequest } from './engine.ts'
import type { Creation } from './headers.ts'

export interface TusParts {
  config: Config
  db: Database
  ingest: Ingest
  ownership: Ownership
  events: Events
  /** Creations under a key whose request has not ended, by their upload. */
  creating: Map<string, Context>
}

/** A request and its answer. */
export interface Exchange {
  req: Request
  res: Response
}

/** What is settled about a request before its upload is touched, and what comes up on the way. */
export interface Context extends Exchange {
  caller: Caller
  lead: Lead
  /** Of a creation. */
  creation?: Creation
  /** Undefined until a creation has made it. */
  uploadId: string | undefined
  /** Its row as it stood when the request last had it: what the answer tells of. */
  row?: Row
  /** Of the request's body. */
  check?: BodyCheck | undefined
  /** The upload that an earlier creation under the same key has made. */
  repeated?: string
  /** The upload that a creation makes, from before it is there. */
  creatingId?: string
  /** Of a creation: its repeat finds it. */
  isKeyed?: boolean
  /** A repeat of the creation was told of the upload. */
  isKnown?: boolean
  /** The line died before all had come. */
  cut?: boolean
  /** What this request has made of the upload. */
  recording?: Recording | undefined
  /** All has come, and is not a recording yet. */
  unfinished?: boolean
  error?: ServiceError
}

/**
 * Where the context hangs at the request. In a `WeakMap`, each would outlive two collections of the young heap and move
 * to the old one, with its request and all.
 */
const CONTEXT = Symbol('what is settled about this request')
type Known = IncomingMessage & { [CONTEXT]?: Context }

export function setContext(req: IncomingMessage, context: Context): void {
  ;(req as Known)[CONTEXT] = context
}

export function contextAt(req: unknown): Context {
  const context = (req as Known)[CONTEXT]
  if (!context) throw new Error('the engine asks about a request that it was not given')
  return context
}

/** Of a request as the library has it. */
export const contextOf = (request: unknown): Context => contextAt((request as EngineRequest).runtime.node.req)

/** The caller, and the lead that is asked for. @throws ServiceError 403 or 404 */
export async function askedBy(db: Database, { req, res }: Exchange): Promise<Pick<Context, 'caller' | 'lead'>> {
  const caller = callerOf(res)
  return { caller, lead: await leadFor(db, caller, req.params.leadId as string, 'upload') }
}

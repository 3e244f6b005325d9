/**
 * PostgreSQL's faults: which of them pass, and what their callers are told of the others.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { DrizzleQueryError } from 'drizzle-orm'
import pg from 'pg'
import { passing, ServiceError } from '../../errors.ts'
import { UniqueViolation } from '../database.ts'

const RETRY_EVERY_MS = 50

/**
 * PostgreSQL is not there, is ending or starting, has no room for one more connection, is a standby that is being promoted,
 * or chose this transaction to break a deadlock: the same may go well a moment later.
 */
const PASSING =
  /^(08...|57P0[1-5]|57014|40001|40P01|55P03|25006|25P03|53[0-9A-Z]{3}|ECONNREFUSED|ECONNRESET|ECONNABORTED|EPIPE|ETIMEDOUT|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|ENETDOWN|ENOENT)$/
const DISK_FULL = '53100'
const UNIQUE_VIOLATION = '23505'
/** What a client sent does not fit, and a door should have refused it; or a row of ours breaks a rule of its table. */
const OURS = /^2[23]/

/** The driver tells some losses of a connection by a sentence alone. */
const LOST =
  /^(Connection terminated|timeout exceeded|timeout expired|Client was closed|Client has encountered a connection error)/

/** No answer came in time, or none can be had any more: the connection is of no use. */
export class Silence extends Error {
  override name = 'Silence'
}

const causes = function* (error: unknown): Generator<Error & { code?: unknown }> {
  for (let e = error; e instanceof Error; e = e.cause) {
    yield e
    // Of a host with several addresses.
    if (e instanceof AggregateError) for (const each of e.errors) yield* causes(each)
  }
}

const codeOf = (error: unknown): string => {
  for (const { code } of causes(error)) if (typeof code === 'string') return code
  return ''
}

/** What has been judged already, a ServiceError, passes no more, whatever its cause. */
export const isPassing = (error: unknown): boolean =>
  !(error instanceof ServiceError) &&
  (PASSING.test(codeOf(error)) || [...causes(error)].some((e) => e instanceof Silence || LOST.test(e.message)))

/** The error as the contract has it. */
export function told(error: unknown): unknown {
  const fault = [...causes(error)].find((each) => each instanceof pg.DatabaseError)
  if (!fault) return error
  if (fault.code === UNIQUE_VIOLATION) return new UniqueViolation('a row of that key exists', { cause: fault })
  if (fault.code === DISK_FULL)
    return passing('insufficient_storage', 'The storage is full; nothing that was acknowledged is lost.', fault)
  if (OURS.test(fault.code ?? '')) return fault
  return passing('unavailable', 'The service cannot reach its storage just now; try again shortly.', fault)
}

/** The time by which something must have been answered, in terms of performance.now(). */
export type DeadlineMs = number

export const msUntil = (deadlineMs: DeadlineMs): number => Math.max(0, Math.ceil(deadlineMs - performance.now()))

/**
 * Tries again what passes, until the deadline.
 *
 * @throws ServiceError `busy` when it has not passed by then
 */
export async function untilPassed<T>(deadlineMs: DeadlineMs, work: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await work()
    } catch (caught) {
      // The builder's own error would show the query and its values in the log.
      const error = caught instanceof DrizzleQueryError ? caught.cause : caught
      if (!isPassing(error)) throw told(error)
      if (performance.now() + RETRY_EVERY_MS > deadlineMs) throw tooLate(error)
    }
    await sleep(RETRY_EVERY_MS * (0.5 + Math.random()))
  }
}

const tooLate = (error: unknown): unknown =>
  codeOf(error) === DISK_FULL ? told(error) : passing('busy', 'The database is busy; try again shortly.', error)

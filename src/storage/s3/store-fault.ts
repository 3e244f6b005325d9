/** Faults of a store of objects, under the codes that faults of a disk have: what a client is told follows from those. */

/**
 * `ENOENT`: there is no such object. `ENOSPC`: the store is full, or the service has had its share. `EACCES`: it refuses.
 * `EAGAIN`: it does not answer, or asks to be left alone for now. `EIO`: any other fault.
 */
export type FaultCode = 'ENOENT' | 'ENOSPC' | 'EACCES' | 'EAGAIN' | 'EIO'

export class StoreFault extends Error {
  override name = 'StoreFault'
  readonly code: FaultCode
  /** What the store calls it, such as `SlowDown`. */
  readonly reason: string

  constructor(code: FaultCode, message: string, reason: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.reason = reason
  }
}

export const missing = (what: string) => new StoreFault('ENOENT', `${what} is not there`, 'NoSuchKey')

export const isMissing = (error: unknown) => (error as NodeJS.ErrnoException | undefined)?.code === 'ENOENT'

/**
 * A body that is needed whole, and one on its way in.
 */
import { ServiceError } from '../errors.ts'

/** A body that has come whole. Its bytes are used again once it is released. */
export interface Body {
  /** To be written over at will. */
  readonly bytes: Buffer
  release(): void
}

/** A body on its way in. */
export interface Gathering {
  /** Takes the piece, whose memory is used again. A promise asks for a pause. @throws ServiceError `too_large` */
  write(piece: Buffer): Promise<void> | undefined
  /** @throws what kept it from being stored meanwhile */
  end(): Promise<Body>
  /** Gives back what was taken; after `end` it does nothing. */
  abort(): void
}

export const tooLong = (maxBytes: number) =>
  new ServiceError('too_large', `The body may have ${maxBytes} bytes at most.`)

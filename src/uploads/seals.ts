/**
 * The seal: what makes something of an upload, its recording or nothing, is alone with it until that is done.
 *
 * A finish takes its time and holds no lock, and its neighbours (cancel, termination, expiry) move the same bytes. So
 * each of them seals the upload first. A step that finds it sealed hears 409 at once: what runs may fail, and then the
 * step may be asked for again. The table does not rely on it: each statement carries its own condition.
 *
 * A request that repeats another one waits for what ends that one, and is told what became of it.
 */
import { ServiceError } from '../errors.ts'
import { closed } from './upload.ts'

/** How long a repeat waits for what has the seal. */
const WAIT_MS = 5_000

/** The upload is sealed. */
export class Sealed extends ServiceError {
  override name = 'Sealed'
  /** Resolves when the seal is given back, whatever became of the upload. */
  readonly givenBack: Promise<void>

  constructor(givenBack: Promise<void>) {
    const { code, message } = closed()
    super(code, message)
    this.givenBack = givenBack
  }
}

export class Seals {
  readonly #sealed = new Map<string, PromiseWithResolvers<void>>()

  isSealed(id: string): boolean {
    return this.#sealed.has(id)
  }

  /** @throws Sealed */
  assertUnsealed(id: string): void {
    const held = this.#sealed.get(id)
    if (held) throw new Sealed(held.promise)
  }

  /** Runs `work` on an upload that is sealed meanwhile. @throws Sealed when it is sealed already */
  async hold<T>(id: string, work: () => Promise<T>): Promise<T> {
    this.assertUnsealed(id)
    const seal = Promise.withResolvers<void>()
    this.#sealed.set(id, seal)
    try {
      return await work()
    } finally {
      this.#sealed.delete(id)
      seal.resolve()
    }
  }
}

/**
 * Does what a repeat of a request asks for; where the upload is sealed, as soon as it is no more.
 *
 * @param signal ends the waiting, as a deadline does
 * @throws ServiceError `upload_locked` when the seal is not given back in time; what `work` throws else
 */
export async function onceUnsealed<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  const deadline = AbortSignal.any([AbortSignal.timeout(WAIT_MS), ...(signal ? [signal] : [])])
  for (;;) {
    try {
      return await work()
    } catch (error) {
      if (!(error instanceof Sealed)) throw error
      if (!(await comesBefore(deadline, error.givenBack))) throw stillEnding()
    }
  }
}

/** Whether the promise resolves before the signal comes. */
function comesBefore(signal: AbortSignal, promise: Promise<void>): Promise<boolean> {
  const { promise: outcome, resolve } = Promise.withResolvers<boolean>()
  const late = () => resolve(false)
  if (signal.aborted) late()
  signal.addEventListener('abort', late, { once: true })
  void promise.then(() => {
    signal.removeEventListener('abort', late)
    resolve(true)
  })
  return outcome
}

const stillEnding = () =>
  new ServiceError('upload_locked', 'The first try of this upload is still being ended; try again shortly.', {
    headers: { 'Retry-After': '1' },
  })

/**
 * The seal: whoever makes something of an upload, its recording or nothing, is alone with it until that is done.
 *
 * A finish takes its time and holds no lock, and its neighbours (cancel, termination, expiry) move the same bytes. So
 * each of them seals the upload first, and who finds it sealed hears 409 at once instead of waiting: what runs may fail,
 * and then it may ask again. The table does not rely on it: each statement carries its own condition.
 */
import { closed } from './upload.ts'

export class Seals {
  readonly #sealed = new Set<string>()

  isSealed(id: string): boolean {
    return this.#sealed.has(id)
  }

  /** Runs `work` on an upload that is sealed meanwhile. @throws ServiceError `upload_closed` when it is sealed already */
  async hold<T>(id: string, work: () => Promise<T>): Promise<T> {
    if (this.#sealed.has(id)) throw closed()
    this.#sealed.add(id)
    try {
      return await work()
    } finally {
      this.#sealed.delete(id)
    }
  }
}

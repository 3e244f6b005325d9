/**
 * What @tus/server is given to ask about uploads and to end them: our locks, and errors in our words.
 */
import type { Locker } from '@tus/server'
import type { Owned } from '../../uploads/ownership.ts'
import { asText, inOurWords } from './answers.ts'
import { type Context, contextOf, type TusParts } from './context.ts'
import type { EngineOptions } from './engine.ts'
import { TusStore } from './store.ts'

export function engineOptions(parts: TusParts, extensions: string[]): EngineOptions {
  const { config, ingest } = parts
  return {
    path: '/',
    datastore: new TusStore(ingest, config.uploadsDir, extensions),
    locker: (request) => lockerOf(parts, contextOf(request)),
    getFileIdFromRequest: (request) => contextOf(request).uploadId,
    onResponseError: async (request, error) => {
      const context = contextOf(request)
      context.error = inOurWords(error)
      return { status_code: context.error.status, body: asText(context.error) }
    },
  }
}

/** Locks for one request: while it holds the upload, what is decided is decided on the row that it has. */
const lockerOf = ({ ownership }: TusParts, context: Context): Locker => ({
  newLock(id) {
    const lock = ownership.newLock(id)
    let owned: Owned | undefined
    const unlock = () => {
      if (owned) context.row = owned.row
      return lock.unlock()
    }
    return {
      async lock(signal, onWanted) {
        await lock.lock(signal, onWanted)
        try {
          owned = await ownership.owned(id)
        } catch (error) {
          await unlock()
          throw error
        }
      },
      unlock,
    }
  },
})

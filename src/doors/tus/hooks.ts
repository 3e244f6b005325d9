/**
 * What @tus/server is given to run uploads with: names, addresses, our steps at its hooks, and a way to write.
 */
import type { Locker } from '@tus/server'
import { asServiceError, ServiceError } from '../../errors.ts'
import { letBodyCome } from '../../http/early-answers.ts'
import { newId } from '../../ids.ts'
import { isPartial } from '../../uploads/parts.ts'
import { closed } from '../../uploads/upload.ts'
import { addressOfUpload, asText, inOurWords } from './answers.ts'
import { type Context, contextAt, contextOf, type TusParts } from './context.ts'
import { begin } from './creation.ts'
import type { EngineOptions, WriteBody } from './engine.ts'
import { TusStore } from './store.ts'

export function engineOptions(parts: TusParts, extensions: string[]): EngineOptions {
  const { config, ingest } = parts
  return {
    path: '/',
    datastore: new TusStore(ingest, config.uploadsDir, extensions),
    locker: (request) => lockerOf(parts, contextOf(request)),
    maxSize: config.uploads.maxBytes,
    namingFunction: newId,
    getFileIdFromRequest: (request) => contextOf(request).uploadId,
    generateUrl: (request, { id }) => {
      const { req, lead } = contextOf(request)
      return addressOfUpload(parts, req, { leadId: lead.id, id })
    },
    onUploadCreate: async (request, upload) => {
      await begin(parts, contextOf(request), upload.id)
      return {}
    },
    onUploadFinish: async (request, upload) => {
      await finish(parts, contextOf(request), upload.id)
      return {}
    },
    onResponseError: async (request, error) => {
      const context = contextOf(request)
      context.error = inOurWords(parts, error, context)
      return { status_code: context.error.status, body: asText(context.error) }
    },
    writeBody: writingTo(parts),
  }
}

async function finish({ ingest }: TusParts, context: Context, uploadId: string): Promise<void> {
  // § Concatenation: partial uploads are not processed until they form a final one.
  if (context.row && isPartial(context.row)) return
  try {
    const { upload, recording } = await ingest.finish(uploadId)
    context.row = upload
    context.recording = recording
  } catch (error) {
    // Its last byte was taken, and a DELETE came before its finish: of two steps at once the loser hears 409.
    if (asServiceError(error).code === 'upload_terminated') throw closed()
    // A creation that is told 503 is made again, and its call would be recorded twice. It hears of its upload, and
    // of nothing that has come: what it does next finds out.
    if (!context.creation || asServiceError(error).status < 500) throw error
    context.unfinished = true
  }
}

/** Locks for one request: while it holds the upload, what is decided is decided on the row that it has. */
const lockerOf = ({ ownership }: TusParts, context: Context): Locker => ({
  newLock(id) {
    const lock = ownership.newLock(id)
    const unlock = () => {
      context.row = context.owned?.row
      context.owned = undefined
      return lock.unlock()
    }
    return {
      async lock(signal, onWanted) {
        await lock.lock(signal, onWanted)
        try {
          context.owned = await ownership.owned(id)
        } catch (error) {
          await unlock()
          throw error
        }
      },
      unlock,
    }
  },
})

const writingTo =
  ({ ingest }: TusParts): WriteBody =>
  async (body, upload, maxBytes, signal) => {
    const context = contextAt(body)
    if (upload.offset === upload.size) return upload.offset
    letBodyCome(context.req, context.res)
    const { offset, end } = await ingest.append(upload.id, body, { maxBytes, signal, check: context.check })
    context.cut = end === 'cut' && offset !== upload.size
    // What comes beyond a declared length is not the upload's: the upload is whole, and the connection ends.
    if (offset === upload.size || end === 'all' || end === 'cut') return offset
    if (end === 'overrun') throw new ServiceError('too_large', 'More bytes came than the upload may have.')
    throw new ServiceError('upload_locked', 'Another request took this upload over; HEAD tells how far it is.', {
      headers: { 'Retry-After': '1', Connection: 'close' },
    })
  }

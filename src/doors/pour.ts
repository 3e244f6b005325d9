/**
 * A body handed on piece by piece.
 */
import type { Readable } from 'node:stream'
import { ServiceError } from '../errors.ts'

export const cutOff = () => new ServiceError('invalid_request', 'The request ended before its body did.')

/**
 * Hands on what a source brings, piece by piece; resolves at its end.
 *
 * @param take may ask for a pause by a promise; what it throws ends the pouring, and leaves the source paused
 * @param failed ends the pouring when it rejects
 * @throws ServiceError `invalid_request` when the source dies
 */
export function pour(
  source: Readable,
  take: (piece: Buffer) => Promise<void> | undefined,
  failed?: Promise<never>,
): Promise<void> {
  return new Promise((resolve, reject) => {
    let settled = false
    const settle = (error?: unknown) => {
      settled = true
      source.off('data', onData)
      source.off('end', onEnd)
      source.off('close', onCut)
      source.off('error', onCut)
      // A late error must not go unhandled.
      source.on('error', () => {})
      if (error === undefined) return resolve()
      source.pause()
      reject(error)
    }
    const onData = (piece: Buffer) => {
      try {
        const pause = take(piece)
        if (!pause) return
        source.pause()
        pause.then(() => {
          if (!settled) source.resume()
        }, settle)
      } catch (error) {
        settle(error)
      }
    }
    const onEnd = () => settle()
    const onCut = () => settle(cutOff())
    if (source.destroyed) return source.readableEnded ? resolve() : reject(cutOff())
    failed?.catch(settle)
    source.on('end', onEnd)
    source.on('close', onCut)
    source.on('error', onCut)
    source.on('data', onData)
  })
}

/**
 * The ends of an upload that becomes no recording: cancelled or terminated by its client, expired, rejected.
 *
 * Each is one transaction whose condition is in its statement: the upload is still open. What comes second, beside a finish
 * or another end, hears 409 and touches no bytes. Knows nothing of HTTP.
 */
import { attemptsOf } from '../db/attempts.ts'
import { dropChunks, dropStep } from '../db/chunks.ts'
import { must, type Statement } from '../db/database.ts'
import { segmentsDropped } from '../db/segments.ts'
import { finishedTerminated, uploadEnded, uploadExpired } from '../db/uploads.ts'
import { asServiceError } from '../errors.ts'
import type { Ground } from './core.ts'
import { change, type Owned } from './ownership.ts'
import { partIdsOf } from './parts.ts'
import { closed, expiryOf, isOpen, isWhole } from './upload.ts'
import { assertAlive } from './usable.ts'

/** The state in which an upload ends without a recording. */
type EndState = 'terminated' | 'expired' | 'rejected'

export class Ends {
  readonly #ground: Ground
  /** Uploads that no client goes on with, and that could not be ended yet. */
  readonly #abandoned = new Set<string>()

  constructor(ground: Ground) {
    this.#ground = ground
  }

  /** The end as one transaction. @throws ServiceError `upload_closed` for the loser */
  async #endAs(owned: Owned, state: EndState, statement = uploadEnded(owned.row.id, state)): Promise<void> {
    const { id, door } = owned.row
    const gone: Statement[] = []
    if (door === 'legacy') gone.push(dropStep(id))
    if (this.#ground.staging.segmented) gone.push(segmentsDropped(id))
    await this.#ground.db.write(must(statement, closed), ...gone)
    await this.#ended(owned, state)
  }

  /** The table says so: what else the upload had goes. */
  async #ended(owned: Owned, state: EndState): Promise<void> {
    const { db, staging, library, space, ownership } = this.#ground
    change(owned, { state })
    const { id, key, door } = owned.row
    this.#abandoned.delete(id)
    space.release(id)
    await owned.staged.discard()
    if (door === 'legacy') await dropChunks(db, id)
    if (staging.segmented) {
      if (door === 'legacy') await owned.staged.beside.clear()
      // Their rows stay: a finish at another instance may yet put its bytes there, and the sweep looks again.
      for (const attempted of await attemptsOf(db, id)) await library.remove(attempted)
      return
    }
    for (const part of partIdsOf(owned.row)) await (ownership.remembered(part)?.staged ?? staging.of(part)).discard()
    // A finish that failed may have moved them.
    if (key !== null && (await library.sizeOf(key)) !== undefined) await library.remove(key)
  }

  async #cancelOpen(owned: Owned): Promise<void> {
    const { id, leadId, callerId } = owned.row
    assertAlive(this.#ground, owned.row)
    if (!isOpen(owned.row)) throw closed()
    await this.#endAs(owned, 'terminated')
    this.#ground.events.uploadTerminated({ uploadId: id, leadId, callerId })
  }

  /**
   * Ends an upload that may still become a recording; the caller owns it. Its bytes go.
   *
   * @throws ServiceError `upload_closed` when it is finished, or just being finished; 410 when it has ended
   */
  cancel(owned: Owned): Promise<void> {
    return this.#ground.seals.hold(owned.row.id, () => this.#cancelOpen(owned))
  }

  /** The same for a client that wants to hear of it no more: the recording of a finished upload stays. */
  terminate(owned: Owned): Promise<void> {
    const { db, seals } = this.#ground
    const { id } = owned.row
    return seals.hold(id, async () => {
      if (owned.row.state !== 'finished') return this.#cancelOpen(owned)
      await db.write(must(finishedTerminated(id), closed))
      change(owned, { state: 'terminated' })
    })
  }

  /**
   * Ends an upload that its client can't go on with; the caller owns it. Where that can't be done just now, the sweep
   * does it.
   *
   * @param cause what made its client fail: a database that was busy is not asked again while a client waits
   */
  async giveUp(id: string, cause?: unknown): Promise<void> {
    this.#abandoned.add(id)
    if (asServiceError(cause).code === 'busy') return
    const owned = await this.#ground.ownership.owned(id)
    try {
      await this.cancel(owned)
    } catch (error) {
      if (isOpen(owned.row)) throw error
    }
    this.#abandoned.delete(id)
  }

  /** Those that wait for the sweep. */
  get abandoned(): ReadonlySet<string> {
    return this.#abandoned
  }

  /** The same for the sweep: an upload that a request is at work on is left to it, until the next time. */
  async abandon(id: string): Promise<void> {
    this.#abandoned.add(id)
    try {
      await this.#ground.ownership.ifFree(id, () => this.giveUp(id))
    } catch (error) {
      if (asServiceError(error).code !== 'upload_not_found') throw error
      this.#abandoned.delete(id)
    }
  }

  async #expireOpen(owned: Owned, isRefused: boolean): Promise<boolean> {
    const { silence, limits, events } = this.#ground
    const { id, leadId, offset } = owned.row
    const nowMs = silence.nowMs()
    if (!isOpen(owned.row) || expiryOf(owned.row, limits.expiresAfterMs) > nowMs) return false
    if (isWhole(owned.row) && !isRefused) return false
    try {
      await this.#endAs(owned, 'expired', uploadExpired(id, { nowMs, expiresAfterMs: limits.expiresAfterMs }))
    } catch (error) {
      if (asServiceError(error).code === 'upload_closed') return false
      throw error
    }
    events.uploadExpired({ uploadId: id, leadId, offset })
    return true
  }

  /**
   * Ends an upload that has been silent for too long. One that has moved on is left alone, and so is one that is at work,
   * and one that is whole, unless its finish is refused.
   *
   * @param isRefused its finish was tried just now, and refused for good as things stand
   * @returns whether it was ended
   */
  async expire(id: string, isRefused = false): Promise<boolean> {
    const { seals, ownership } = this.#ground
    if (seals.isSealed(id)) return false
    const expired = await ownership.ifFree(id, (owned) => seals.hold(id, () => this.#expireOpen(owned, isRefused)))
    return expired ?? false
  }

  /** An upload without a byte was expired in the transaction that began another. */
  gaveWay(id: string): Promise<void> {
    return this.#ground.ownership.using(id, async (owned) => {
      const { leadId, offset } = owned.row
      await this.#ended(owned, 'expired')
      this.#ground.events.uploadExpired({ uploadId: id, leadId, offset })
    })
  }

  /** Ends an upload whose bytes are not what its client promised; for its finish, which has sealed it. */
  async reject(owned: Owned): Promise<void> {
    const { id, leadId, offset } = owned.row
    await this.#endAs(owned, 'rejected')
    this.#ground.events.uploadRejected({ uploadId: id, leadId, size: offset })
  }
}

/**
 * The ends of an upload that becomes no recording: cancelled or terminated by its client, expired, rejected.
 *
 * Each is one transaction whose condition is in its statement: the upload is still open. Whoever comes second, beside a
 * finish or another end, hears 409 and touches no bytes. Knows nothing of HTTP.
 */
import type { Config } from '../config/config.ts'
import { dropChunks, dropStep } from '../db/chunks.ts'
import { type Database, must, type Statement } from '../db/database.ts'
import type { UploadRow } from '../db/schema.ts'
import { finishedTerminated, uploadEnded, uploadExpired } from '../db/uploads.ts'
import { asServiceError } from '../errors.ts'
import type { Events } from '../events.ts'
import type { Library } from '../storage/library.ts'
import type { Space } from '../storage/space.ts'
import { partIdsOf } from './parts.ts'
import type { Open, Register } from './register.ts'
import type { Seals } from './seals.ts'
import type { Silence } from './silence.ts'
import { closed, expiryOf, isOpen, isWhole } from './upload.ts'

interface Parts {
  db: Database
  library: Library
  space: Space
  register: Register
  seals: Seals
  events: Events
  silence: Silence
  limits: Pick<Config['uploads'], 'expiresAfterMs'>
}

/** The state in which an upload ends without a recording. */
type EndState = 'terminated' | 'expired' | 'rejected'

export class Ends {
  readonly #parts: Parts
  /** Uploads that nobody goes on with, and that could not be ended yet. */
  readonly #abandoned = new Set<string>()

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /** The end as one transaction. @throws ServiceError `upload_closed` for the loser */
  async #endAs(row: UploadRow, state: EndState, statement = uploadEnded(row.id, state)): Promise<void> {
    const chunksGo: Statement[] = row.door === 'legacy' ? [dropStep(row.id)] : []
    await this.#parts.db.write(must(statement, closed), ...chunksGo)
    await this.#ended(row, state)
  }

  /** The table says so: what else the upload had goes. */
  async #ended(row: UploadRow, state: EndState): Promise<void> {
    const { db, library, space, register } = this.#parts
    row.state = state
    this.#abandoned.delete(row.id)
    space.release(row.id)
    for (const id of [row.id, ...partIdsOf(row)]) await register.stagedOf(id).discard()
    if (row.door === 'legacy') await dropChunks(db, row.id)
    // A finish that failed may have moved them.
    if (row.key !== null && (await library.sizeOf(row.key)) !== undefined) await library.remove(row.key)
  }

  async #cancelOpen({ row }: Open): Promise<void> {
    const { register, events } = this.#parts
    register.assertAlive(row)
    if (!isOpen(row)) throw closed()
    await this.#endAs(row, 'terminated')
    events.uploadTerminated({ uploadId: row.id, leadId: row.leadId, callerId: row.callerId })
  }

  /**
   * Ends an upload that may still become a recording; the caller holds its lock. Its bytes go.
   *
   * @throws ServiceError `upload_closed` when it is finished, or just being finished; 410 when it has ended
   */
  cancel(id: string): Promise<void> {
    const { seals, register } = this.#parts
    return seals.hold(id, () => register.using(id, (open) => this.#cancelOpen(open)))
  }

  /** The same for a client that wants to hear of it no more: the recording of a finished upload stays. */
  terminate(id: string): Promise<void> {
    const { db, seals, register } = this.#parts
    return seals.hold(id, () =>
      register.using(id, async (open) => {
        const { row } = open
        if (row.state !== 'finished') return this.#cancelOpen(open)
        await db.write(must(finishedTerminated(id), closed))
        row.state = 'terminated'
      }),
    )
  }

  /** Also where that can't be told just now. */
  #isStillOpen(id: string): Promise<boolean> {
    return this.#parts.register.find(id).then(isOpen, (error) => asServiceError(error).status >= 500)
  }

  async #expireOpen({ row, users, refused }: Open): Promise<boolean> {
    const { silence, limits, events } = this.#parts
    const nowMs = silence.nowMs()
    if (!isOpen(row) || users > 1 || expiryOf(row, limits.expiresAfterMs) > nowMs) return false
    if (isWhole(row) && !refused) return false
    try {
      await this.#endAs(row, 'expired', uploadExpired(row.id, { nowMs, expiresAfterMs: limits.expiresAfterMs }))
    } catch (error) {
      if (asServiceError(error).code === 'upload_closed') return false
      throw error
    }
    events.uploadExpired({ uploadId: row.id, leadId: row.leadId, offset: row.offset })
    return true
  }

  /**
   * Ends an upload that nobody can go on with. Where that can't be done just now, the sweep does it.
   *
   * @param cause what made its client fail: a database that was busy is not asked again while somebody waits
   */
  async abandon(id: string, cause?: unknown): Promise<void> {
    this.#abandoned.add(id)
    if (asServiceError(cause).code === 'busy') return
    try {
      await this.cancel(id)
    } catch (error) {
      if (await this.#isStillOpen(id)) throw error
    }
    this.#abandoned.delete(id)
  }
  /** Those that wait for the sweep. */
  get abandoned(): ReadonlySet<string> {
    return this.#abandoned
  }

  /**
   * Ends an upload that has been silent for too long. One that has moved on is left alone, and so is one that is whole,
   * unless its finish was refused.
   *
   * @returns whether it was ended
   */
  async expire(id: string): Promise<boolean> {
    const { seals, register } = this.#parts
    if (seals.isSealed(id)) return false
    return seals.hold(id, () => register.using(id, (open) => this.#expireOpen(open)))
  }

  /** An upload without a byte was expired in the transaction that began another. */
  async gaveWay(id: string): Promise<void> {
    const { register, events } = this.#parts
    const row = await register.find(id)
    await this.#ended(row, 'expired')
    events.uploadExpired({ uploadId: row.id, leadId: row.leadId, offset: row.offset })
  }

  /** Ends an upload whose bytes are not what its client promised; for its finish, which has sealed it. */
  async reject({ row }: Open): Promise<void> {
    await this.#endAs(row, 'rejected')
    this.#parts.events.uploadRejected({ uploadId: row.id, leadId: row.leadId, size: row.offset })
  }
}

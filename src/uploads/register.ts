/**
 * The register of uploads: their rows as memory has them, so that a request need not ask the table, and what the disk
 * says about those that memory does not know.
 */
import type { Clock } from '../clock.ts'
import type { Config } from '../config/config.ts'
import { type Database, must, type Statement } from '../db/database.ts'
import type { UploadRow } from '../db/schema.ts'
import { offsetReached, uploadById } from '../db/uploads.ts'
import { ServiceError } from '../errors.ts'
import type { Events } from '../events.ts'
import { isId } from '../ids.ts'
import type { Caller } from '../leads/rights.ts'
import type { Library } from '../storage/library.ts'
import type { Space } from '../storage/space.ts'
import type { Staged, Staging } from '../storage/staging.ts'
import { isFinal } from './parts.ts'
import type { Silence } from './silence.ts'
import { closed, expiryOf, isOpen, isWhole } from './upload.ts'

/** Uploads whose rows are kept at hand between their requests. */
const ROWS_AT_HAND = 4_000

/** An upload as memory has it: `row.offset` may be ahead of the table while a finish is under way. */
export interface Open {
  row: UploadRow
  /** Its bytes. */
  readonly staged: Staged
  /** The offset that the table has. */
  savedOffset: number
  /** How many are at work on it: it must not be forgotten meanwhile. */
  users: number
  /** Its finish was refused for good as things stand: it may expire although it is whole. */
  refused: boolean
  /** Bytes that the table tells of are not on the disk. */
  missing: boolean
}

interface Parts {
  db: Database
  staging: Staging
  library: Library
  space: Space
  events: Events
  clock: Clock
  silence: Silence
  limits: Config['uploads']
}

export class Register {
  readonly #parts: Parts
  readonly #known = new Map<string, Open>()

  constructor(parts: Parts) {
    this.#parts = parts
  }

  #keepAtHand(open: Open): Open {
    this.#known.set(open.row.id, open)
    if (this.#known.size > ROWS_AT_HAND) {
      for (const [id, each] of this.#known) {
        // A row that is ahead of the table is the only memory of its bytes; a second copy of one in use would fall behind.
        if (each.savedOffset === each.row.offset && each.users === 0) {
          this.#drop(id)
          break
        }
      }
    }
    return open
  }

  #drop(id: string): void {
    this.#known.get(id)?.staged.forget()
    this.#known.delete(id)
  }

  /** What the disk says about an upload that memory does not know: after a start, or long ago. */
  async #recovered(row: UploadRow, bytes: Staged): Promise<Pick<Open, 'row' | 'missing'>> {
    const { library } = this.#parts
    // Of a final upload, the bytes may lie with its parts; its finish gathers them, or says that they are gone.
    if (!isOpen(row) || isFinal(row)) return { row, missing: false }
    const staged = await bytes.size()
    if (staged !== undefined && staged >= row.offset) return { row, missing: false }
    if (staged === undefined && row.key !== null && row.length !== null) {
      // Moved, but its row was not committed any more.
      const moved = (await library.sizeOf(row.key)) === row.length
      if (moved) return { row: { ...row, offset: row.length }, missing: false }
    }
    return { row, missing: row.offset > 0 }
  }

  async load(id: string): Promise<Open> {
    const known = this.#known.get(id)
    if (known) return known
    const row = isId(id) ? await uploadById(this.#parts.db, id) : undefined
    if (!row) throw new ServiceError('upload_not_found', 'There is no such upload.')
    const staged = this.#parts.staging.of(id)
    const open = { ...(await this.#recovered(row, staged)), staged, savedOffset: row.offset, users: 0, refused: false }
    // Missing bytes may come back with their file system: that is not for memory to keep.
    return this.#known.get(id) ?? (open.missing ? open : this.#keepAtHand(open))
  }

  /** Works on an upload, whose row stays at hand until the work is done. */
  async using<T>(id: string, work: (open: Open) => Promise<T>): Promise<T> {
    const open = await this.load(id)
    open.users += 1
    try {
      return await work(open)
    } finally {
      open.users -= 1
    }
  }

  isExpired(row: UploadRow): boolean {
    const { silence, limits } = this.#parts
    return row.state === 'receiving' && !isWhole(row) && silence.nowMs() > expiryOf(row, limits.expiresAfterMs)
  }

  /** @throws ServiceError 410 for an upload that ended without a recording */
  assertAlive(row: UploadRow): void {
    if (row.state === 'expired' || this.isExpired(row)) {
      throw new ServiceError('upload_expired', 'This upload was silent for too long and has expired.')
    }
    if (row.state === 'concatenated') {
      throw new ServiceError('upload_terminated', 'This upload has become part of another one.')
    }
    if (row.state === 'terminated') throw new ServiceError('upload_terminated', 'This upload has been terminated.')
    if (row.state === 'rejected')
      throw new ServiceError('upload_terminated', 'This upload was not what it promised to be.')
  }

  /** The alarm, and 410: what was acknowledged is not there any more. */
  bytesMissing(row: UploadRow, cause?: unknown): ServiceError {
    this.#drop(row.id)
    this.#parts.events.uploadBytesMissing({ uploadId: row.id, leadId: row.leadId, offset: row.offset })
    return new ServiceError('upload_expired', 'The bytes of this upload are gone; start a new one.', { cause })
  }

  /** @throws ServiceError 410 for an upload that ended without a recording, or whose bytes are gone */
  assertUsable({ row, missing }: Open): void {
    this.assertAlive(row)
    if (missing) throw this.bytesMissing(row)
  }

  /** An upload's bytes, whether or not its row is at hand. */
  stagedOf(id: string): Staged {
    return this.#known.get(id)?.staged ?? this.#parts.staging.of(id)
  }

  /** The upload's row as it stands; 404 for an unknown one. */
  async find(id: string): Promise<UploadRow> {
    return (await this.load(id)).row
  }

  /** The upload for a caller: who began it, or the CRM, on the lead that it began on. @throws ServiceError 403 or 404 */
  async findFor(caller: Caller, leadId: string, id: string): Promise<UploadRow> {
    const row = await this.find(id)
    if (row.leadId !== leadId) throw new ServiceError('upload_not_found', 'There is no such upload.')
    if (caller.role !== 'service' && row.callerId !== caller.id) {
      throw new ServiceError('not_your_upload', 'This upload was begun by another caller.')
    }
    return row
  }

  /** Writes the offset to the table, and what is true along with it; from then on it may be acknowledged. */
  async saveOffset(open: Open, offset: number, also: readonly Statement[] = []): Promise<void> {
    const { db, space, clock } = this.#parts
    const lastByteAtMs = clock.now()
    await db.write(
      must(offsetReached({ id: open.row.id, offset, lastByteAtMs }), () => {
        this.#drop(open.row.id)
        return closed()
      }),
      ...also,
    )
    open.row.offset = offset
    open.row.lastByteAtMs = lastByteAtMs
    open.savedOffset = offset
    space.arrived(open.row.id, offset)
  }

  /** @throws ServiceError `upload_closed` for an upload whose length is fixed, and as `assertUsable` does */
  assertDeferred(open: Open): void {
    this.assertUsable(open)
    if (open.row.state !== 'receiving' || open.row.length !== null) throw closed()
  }

  /** The caller's uploads that a request is at work on. */
  inUseOf(callerId: string): string[] {
    const mine = [...this.#known.values()].filter(({ row, users }) => users > 0 && row.callerId === callerId)
    return mine.map(({ row }) => row.id)
  }

  /** The row as the table has it just now. */
  async stored(id: string): Promise<UploadRow | undefined> {
    return uploadById(this.#parts.db, id)
  }

  /** The clock was set: stored times move along, in the table and here. */
  followClock(): Promise<void> {
    return this.#parts.silence.follow((moved) => {
      for (const { row } of this.#known.values()) {
        if (!isOpen(row)) continue
        const lastByteAtMs = moved(row.lastByteAtMs)
        if (row.createdAtMs === row.lastByteAtMs) row.createdAtMs = lastByteAtMs
        row.lastByteAtMs = lastByteAtMs
      }
    })
  }

  /** Takes in the row of an upload that has just begun. */
  add(row: UploadRow): Open {
    const staged = this.#parts.staging.of(row.id)
    return this.#keepAtHand({ row, staged, savedOffset: row.offset, users: 0, refused: false, missing: false })
  }
}

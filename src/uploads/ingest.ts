/**
 * The one core behind all doors: an upload begins, grows, and is finished or cancelled.
 *
 * Puts the steps of a life together with what they share. What appends, seals or cancels owns the upload; finishing needs
 * no ownership. Knows nothing of HTTP.
 */
import type { Readable } from 'node:stream'
import type { UploadRow } from '../db/schema.ts'
import { ServiceError } from '../errors.ts'
import type { Caller } from '../leads/rights.ts'
import { type AppendOptions, append } from './append.ts'
import { begin } from './begin.ts'
import { createCallersLimit } from './callers-limit.ts'
import { concatenate } from './concatenate.ts'
import type { Core, Ground, Parts } from './core.ts'
import { Ends } from './end.ts'
import { Finishes } from './finish.ts'
import { bytesInOrder } from './ledger.ts'
import { LegacyChunks } from './legacy-chunks.ts'
import type { Owned, Row } from './ownership.ts'
import { declareLength, type Seal, seal } from './seal.ts'
import { Seals } from './seals.ts'
import { createSilence } from './silence.ts'
import { expiryOf, isOpen, isWhole, type UploadIntent } from './upload.ts'
import { assertUsable } from './usable.ts'

/** What never changes of an upload: it may be decided on without owning it. */
export type Identity = Readonly<Pick<UploadRow, 'id' | 'door' | 'leadId' | 'callerId' | 'concat'>>

export type Ingest = ReturnType<typeof createIngest>

function createCore(parts: Parts, crashAt: string | undefined, isDraining: () => boolean): Core {
  const { db, clock, ownership, limits } = parts
  /** Kills the process at a named step; only tests of crashes set one. */
  const step = (name: string) => {
    if (crashAt === name) process.kill(process.pid, 'SIGKILL')
  }
  const ground: Ground = { ...parts, silence: createSilence({ db, clock }), seals: new Seals(), step, isDraining }
  const ends = new Ends(ground)
  const finishes = new Finishes({ ...ground, ends })
  const callersLimit = createCallersLimit({ db, ownership, clock, maxPerCaller: limits.maxPerCaller })
  return { ...ground, ends, finishes, callersLimit }
}

/**
 * The row as clients see it. Where rows name the objects that hold an upload's bytes, chunks count as its bytes from its
 * finalize on only: until then, its offset is told by them.
 */
async function shown({ db, staging }: Core, row: Row): Promise<Row> {
  if (!staging.segmented || row.door !== 'legacy' || !isOpen(row) || row.length !== null) return row
  return { ...row, offset: await bytesInOrder(db, row.id) }
}

/**
 * The upload as a client may see it: one that is whole is finished first, so that its full length is never shown before
 * its recording is committed.
 *
 * @throws ServiceError 410, or what keeps it from being finished
 */
async function view(core: Core, owned: Owned): Promise<Row> {
  if (isWhole(owned.row) && !owned.missing) await core.finishes.finish(owned.row.id)
  assertUsable(core, owned)
  return shown(core, owned.row)
}

/** The upload for a caller: who began it, or the CRM, on the lead that it began on. @throws ServiceError 403 or 404 */
async function findFor({ ownership }: Core, caller: Caller, leadId: string, id: string): Promise<Identity> {
  const row = await ownership.find(id)
  if (row.leadId !== leadId) throw new ServiceError('upload_not_found', 'There is no such upload.')
  if (caller.role !== 'service' && row.callerId !== caller.id) {
    throw new ServiceError('not_your_upload', 'This upload was begun by another caller.')
  }
  return row
}

/** The clock was set: stored times move along, in the table and in memory. */
const followClock = ({ silence, ownership }: Core, isLeading: boolean): Promise<void> =>
  silence.follow(isLeading, (moved) => {
    for (const owned of ownership.all()) {
      const { row } = owned
      if (!isOpen(row)) continue
      const lastByteAtMs = moved(row.lastByteAtMs)
      owned.row = { ...row, lastByteAtMs, ...(row.createdAtMs === row.lastByteAtMs && { createdAtMs: lastByteAtMs }) }
    }
  })

export function createIngest({ crashAt, ...parts }: Parts & { crashAt?: string | undefined }) {
  let draining = false
  const core = createCore(parts, crashAt, () => draining)
  const { staging, clock, limits, ownership, ends, finishes, step } = core

  return {
    staging,
    step,
    chunks: new LegacyChunks(core),
    begin: (intent: UploadIntent) => begin(core, intent),
    concatenate: (intent: UploadIntent & { partIds: readonly string[] }) => concatenate(core, intent),

    // The caller holds the upload's lock.
    append: async (id: string, source: Readable, options?: AppendOptions) =>
      append(core, await ownership.owned(id), source, options),
    seal: async (id: string, what: Seal) => seal(core, await ownership.owned(id), what),
    declareLength: async (id: string, length: number) => declareLength(core, await ownership.owned(id), length),
    view: async (id: string) => view(core, await ownership.owned(id)),
    cancel: async (id: string) => ends.cancel(await ownership.owned(id)),
    terminate: async (id: string) => ends.terminate(await ownership.owned(id)),
    giveUp: (id: string, cause?: unknown) => ends.giveUp(id, cause),

    // No lock is needed.
    finish: (id: string) => finishes.finish(id),
    finishes,
    unfinished: finishes.unfinished,
    settled: () => finishes.settled(),
    find: (id: string) => ownership.find(id),
    shown: (row: Row) => shown(core, row),
    findFor: (caller: Caller, leadId: string, id: string) => findFor(core, caller, leadId, id),
    abandon: (id: string) => ends.abandon(id),
    abandoned: ends.abandoned,
    expire: (id: string, isRefused?: boolean) => ends.expire(id, isRefused),
    followClock: (isLeading: boolean) => followClock(core, isLeading),

    /** From now on nothing begins or goes on coming in; what came is kept, and what is whole is finished. */
    drain() {
      draining = true
      staging.stop()
    },
    isDraining: () => draining,
    /** When an unfinished upload expires if no byte comes any more, in milliseconds since the epoch. */
    expiresAtMs: (row: Row) => expiryOf(row, limits.expiresAfterMs) - Math.max(0, row.lastByteAtMs - clock.now()),
  }
}

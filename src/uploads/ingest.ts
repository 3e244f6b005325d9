/**
 * The one core behind all doors: an upload begins, grows, and is finished or cancelled.
 *
 * Puts the steps of a life together with what they share. Whoever appends or cancels holds the upload's lock; finishing needs
 * none. Knows nothing of HTTP.
 */
import type { Readable } from 'node:stream'
import type { Clock } from '../clock.ts'
import type { Config } from '../config/config.ts'
import type { Database, Statement } from '../db/database.ts'
import type { UploadRow } from '../db/schema.ts'
import type { Events } from '../events.ts'
import type { Inspector } from '../media/inspect.ts'
import type { Library } from '../storage/library.ts'
import type { Space } from '../storage/space.ts'
import type { Staging } from '../storage/staging.ts'
import { type AppendOptions, append, appendWhole, type Counted, hearOf, moveOffset } from './append.ts'
import { begin } from './begin.ts'
import { createCallersLimit } from './callers-limit.ts'
import { concatenate } from './concatenate.ts'
import type { Core } from './core.ts'
import { Ends } from './end.ts'
import { Finishes } from './finish.ts'
import { Register } from './register.ts'
import { declareLength, type Seal, seal } from './seal.ts'
import { Seals } from './seals.ts'
import { createSilence } from './silence.ts'
import { expiryOf, isWhole, type UploadIntent } from './upload.ts'

interface Parts {
  db: Database
  staging: Staging
  library: Library
  space: Space
  inspector: Inspector
  events: Events
  clock: Clock
  limits: Config['uploads']
  crashAt?: string | undefined
}

export type Ingest = ReturnType<typeof createIngest>

function createCore({ crashAt, ...parts }: Parts, isDraining: () => boolean): Core {
  const { db, clock, limits } = parts
  /** Kills the process at a named step; only tests of crashes set one. */
  const step = (name: string) => {
    if (crashAt === name) process.kill(process.pid, 'SIGKILL')
  }
  const silence = createSilence({ db, clock })
  const register = new Register({ ...parts, silence })
  const seals = new Seals()
  const ends = new Ends({ ...parts, silence, register, seals })
  const callersLimit = createCallersLimit({ db, register, maxPerCaller: limits.maxPerCaller })
  const finishes = new Finishes({ ...parts, register, seals, ends, step })
  return { ...parts, silence, register, seals, callersLimit, ends, finishes, step, isDraining }
}

export function createIngest(parts: Parts) {
  let draining = false
  const core = createCore(parts, () => draining)
  const { staging, clock, limits, register, ends, finishes, step } = core

  /**
   * The upload as a client may see it: one that is whole is finished first, so that its full length is never shown
   * before its recording is committed.
   *
   * @throws ServiceError 404, 410, or what keeps it from being finished
   */
  async function view(id: string): Promise<UploadRow> {
    const open = await register.load(id)
    if (isWhole(open.row) && !open.missing) await finishes.finish(id)
    register.assertUsable(open)
    return open.row
  }

  return {
    staging,
    step,
    begin: (intent: UploadIntent) => begin(core, intent),
    append: (id: string, source: Readable, options?: AppendOptions) => append(core, id, source, options),
    appendWhole: (id: string, source: Buffer | Counted, also: (position: number) => Statement[]) =>
      appendWhole(core, id, source, also),
    hearOf: (id: string, also: readonly Statement[]) => hearOf(core, id, also),
    moveOffset: (id: string, offset: number, also: readonly Statement[]) => moveOffset(core, id, offset, also),
    seal: (id: string, what: Seal) => seal(core, id, what),
    declareLength: (id: string, length: number) => declareLength(core, id, length),
    concatenate: (intent: UploadIntent & { partIds: readonly string[] }) => concatenate(core, intent),
    finish: (id: string) => finishes.finish(id),
    unfinished: finishes.unfinished,
    settled: () => finishes.settled(),
    view,
    find: (id: string) => register.find(id),
    stagedOf: async (id: string) => (await register.load(id)).staged,
    findFor: register.findFor.bind(register),
    assertAlive: (row: UploadRow) => register.assertAlive(row),
    followClock: () => register.followClock(),
    cancel: (id: string) => ends.cancel(id),
    terminate: (id: string) => ends.terminate(id),
    abandon: (id: string, cause?: unknown) => ends.abandon(id, cause),
    abandoned: ends.abandoned,
    expire: (id: string) => ends.expire(id),
    /** From now on nothing begins or goes on coming in; what came is kept, and what is whole is finished. */
    drain() {
      draining = true
      staging.stop()
    },
    isDraining: () => draining,
    /** When an unfinished upload expires if no byte comes any more, in milliseconds since the epoch. */
    expiresAtMs: (row: UploadRow) => expiryOf(row, limits.expiresAfterMs) - Math.max(0, row.lastByteAtMs - clock.now()),
  }
}

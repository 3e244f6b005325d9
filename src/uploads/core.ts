/**
 * What the steps of an upload's life are handed: where bytes lie, what the tables say, and what memory knows of both.
 */
import type { Clock } from '../clock.ts'
import type { Config } from '../config/config.ts'
import type { Database } from '../db/database.ts'
import type { Events } from '../events.ts'
import type { Inspector } from '../media/inspect.ts'
import type { Library } from '../storage/library.ts'
import type { Space } from '../storage/space.ts'
import type { Staging } from '../storage/staging.ts'
import type { CallersLimit } from './callers-limit.ts'
import type { Ends } from './end.ts'
import type { Finishes } from './finish.ts'
import type { Ownership } from './ownership.ts'
import type { Seals } from './seals.ts'
import type { Silence } from './silence.ts'

/** What the core is made of. */
export interface Parts {
  readonly db: Database
  readonly staging: Staging
  readonly library: Library
  readonly space: Space
  readonly inspector: Inspector
  readonly events: Events
  readonly clock: Clock
  readonly limits: Config['uploads']
  readonly ownership: Ownership
}

/** What every step stands on. */
export interface Ground extends Parts {
  readonly silence: Silence
  readonly seals: Seals
  /** Called at each named step. */
  readonly step: (name: string) => void
  /** True once nothing begins or goes on coming in any more. */
  readonly isDraining: () => boolean
}

export interface Core extends Ground {
  readonly callersLimit: CallersLimit
  readonly ends: Ends
  readonly finishes: Finishes
}
